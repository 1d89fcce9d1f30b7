package lock_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

// Virtual time stands still until everybody has dealt with what they were told: these tests
// are about what a waiter must not take for its turn, and what it must not lose by it.

// beforeWatches calls do with each request for a watch that a party sends.
func (p *party) beforeWatches(do func(create *pb.WatchCreateRequest) error) {
	p.rec.HookStream(func(_ string, d etcdtest.Direction, msg any) (drop bool, err error) {
		if req, ok := msg.(*pb.WatchRequest); ok && d == etcdtest.Send && req.GetCreateRequest() != nil {
			return false, do(req.GetCreateRequest())
		}
		return false, nil
	})
}

func TestTheSecondIsNotWokenByWhoComesAndGoesBetweenTheKeys(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		holder, p := newParty(t, s), newParty(t, s)
		h := take(t, holder.mutex(t))
		done := soon(anHour(t), p.mutex(t).Lock)
		all := entries(t, s)
		between := min(all[0].Key, all[1].Key) + "-between"
		operate(t, s, func(client *clientv3.Client) error {
			put(t, client, between, "somebody")
			_, err := client.Delete(t.Context(), between)
			return err
		})
		synctest.Wait()
		require.Len(t, events(p.rec), 1)
		stillWaits(t, done)
		unlock(t, h)
		next := granted(t, done)
		require.Equal(t, all[1].Token, next.Token())
		unlock(t, next)
	})
}

// A member that lags behind begins a watch where it is, and delivers what has been since.
func TestTheEndOfAnEarlierEntryOfThePredecessorsKeyIsNobodysTurn(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		holder, p := newParty(t, s), newParty(t, s)
		earlier := take(t, holder.mutex(t))
		unlock(t, earlier)
		h := take(t, holder.mutex(t))
		require.Equal(t, earlier.Key(), h.Key())
		p.beforeWatches(func(create *pb.WatchCreateRequest) error {
			create.StartRevision = earlier.Token().Revision()
			return nil
		})
		done := soon(anHour(t), p.mutex(t).Lock)
		vtime.Advance(time.Second) // the server catches up ten times a second
		require.Len(t, events(p.rec), 1)
		stillWaits(t, done)
		unlock(t, h)
		unlock(t, granted(t, done))
	})
}

// The watch does not tell of that, and later tells of the predecessor's end alone.
func TestTheSecondWhoseKeyGoesBeforeItsWatchBeginsQueuesAgain(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		holder, p, operator := newParty(t, s), newParty(t, s), s.Client()
		h := take(t, holder.mutex(t))
		var once sync.Once
		p.beforeWatches(func(create *pb.WatchCreateRequest) (err error) {
			once.Do(func() {
				own := string(create.Key)
				if own == h.Key() {
					own = strings.TrimSuffix(string(create.RangeEnd), "\x00")
				}
				_, err = operator.Delete(t.Context(), own)
			})
			return err
		})
		done := soon(anHour(t), p.mutex(t).Lock)
		stillWaits(t, done)
		requireEntries(t, s, 2)
		unlock(t, h)
		next := granted(t, done)
		requireKeys(t, s, "lock", next.Key())
		unlock(t, next)
	})
}

func TestTheLastWaitsForTheFirstWhenAllBetweenThemLeave(t *testing.T) {
	t.Parallel()
	for between := 1; between <= 3; between++ {
		vtime.Run(t, func(t *testing.T, s *vtime.Server) {
			h := take(t, newParty(t, s).mutex(t))
			ctx, leave := context.WithCancel(anHour(t))
			var leaving []<-chan outcome
			for range between {
				leaving = append(leaving, soon(ctx, newParty(t, s).mutex(t).Lock))
			}
			last := soon(anHour(t), newParty(t, s).mutex(t).Lock)
			requireEntries(t, s, between+2)
			leave()
			for _, done := range leaving {
				require.ErrorIs(t, (<-done).err, context.Canceled)
			}
			synctest.Wait()
			requireEntries(t, s, 2)
			stillWaits(t, last)
			unlock(t, h)
			unlock(t, granted(t, last))
		})
	}
}

// The third knows those before it by the entries they are, not by their keys.
func TestTheThirdIsGrantedAlthoughTheFirstHasQueuedAgainUnderItsKey(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		holder, p := newParty(t, s), newParty(t, s)
		h := take(t, holder.mutex(t))
		second := soon(anHour(t), newParty(t, s).mutex(t).Lock)
		third := soon(anHour(t), p.mutex(t).Lock)
		unlock(t, h)
		fourth := soon(anHour(t), holder.mutex(t).Lock)
		require.Equal(t, h.Key(), entries(t, s)[2].Key)
		stillWaits(t, third)
		p.rec.Reset()
		unlock(t, granted(t, second))
		next := granted(t, third)
		require.Empty(t, readsOf(p.rec))
		stillWaits(t, fourth)
		unlock(t, next)
		unlock(t, granted(t, fourth))
	})
}

// What the watch does not tell, since it begins later, is found by the read at its beginning.
func TestTheThirdFindsOutThatTheFirstWentBeforeItsWatchBegan(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		p, operator := newParty(t, s), s.Client()
		h := take(t, newParty(t, s).mutex(t))
		second := soon(anHour(t), newParty(t, s).mutex(t).Lock)
		var once sync.Once
		p.beforeWatches(func(*pb.WatchCreateRequest) (err error) {
			once.Do(func() {
				if err = h.Unlock(t.Context()); err == nil {
					_, err = operator.Put(t.Context(), h.Key(), "another, which is none of its business")
				}
			})
			return err
		})
		third := soon(anHour(t), p.mutex(t).Lock)
		stillWaits(t, third)
		p.rec.Reset()
		unlock(t, granted(t, second))
		next := granted(t, third)
		require.Empty(t, readsOf(p.rec))
		unlock(t, next)
	})
}

func TestWhoHasBecomeTheThirdTakesOverWithoutARead(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		h := take(t, newParty(t, s).mutex(t))
		second := soon(anHour(t), newParty(t, s).mutex(t).Lock)
		ctx, leave := context.WithCancel(anHour(t))
		left := soon(ctx, newParty(t, s).mutex(t).Lock)
		p := newParty(t, s)
		last := soon(anHour(t), p.mutex(t).Lock)
		leave()
		require.ErrorIs(t, (<-left).err, context.Canceled)
		synctest.Wait()
		p.rec.Reset()
		unlock(t, h)
		unlock(t, granted(t, second))
		next := granted(t, last)
		require.Empty(t, readsOf(p.rec))
		unlock(t, next)
	})
}

// readsOf returns the requests that asked for keys.
func readsOf(rec *etcdtest.Recorder) (all []etcdtest.Call) {
	for _, call := range rec.Calls() {
		if _, ok := call.Request.(*pb.TxnRequest); ok && !call.IsWrite() {
			all = append(all, call)
		}
	}
	return all
}

// Who stands behind an entry of its own process looks only at its own key when that has gone.
func TestAWaiterWhoseKeyGoesBehindOneOfItsOwnProcessQueuesAgain(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		holder, p := newParty(t, s), newParty(t, s)
		h := take(t, holder.mutex(t))
		other := soon(anHour(t), newParty(t, s).mutex(t).Lock)
		m := p.mutex(t)
		second, third := soon(anHour(t), m.Lock), soon(anHour(t), m.Lock) // the last knows only whom it is behind
		unlock(t, h)
		unlock(t, granted(t, other))
		h = granted(t, second)
		behind := entries(t, s)[1]
		operate(t, s, func(client *clientv3.Client) error {
			_, err := client.Delete(t.Context(), behind.Key)
			return err
		})
		synctest.Wait()
		requireEntries(t, s, 1) // it does not know yet
		stillWaits(t, third)
		unlock(t, h)
		next := granted(t, third)
		require.Greater(t, next.Token(), behind.Token)
		requireKeys(t, s, "lock", next.Key())
		unlock(t, next)
	})
}

// Who finds its entry where it was to put it, since an answer was lost, does not know yet who is
// before it.
func TestAnEntryWhoseAnswerWasLostWaitsForItsTurnAndItsKeyIsUsedAgain(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		holder, p := newParty(t, s), newParty(t, s)
		h := take(t, holder.mutex(t))
		p.lease(t)
		dropped := p.rec.DropReplies("Txn", 1)
		done := soon(anHour(t), p.mutex(t).Lock)
		<-dropped
		vtime.Advance(time.Second)
		requireEntries(t, s, 2)
		stillWaits(t, done)
		unlock(t, h)
		next := granted(t, done)
		unlock(t, next)
		again := take(t, p.mutex(t))
		require.Equal(t, next.Key(), again.Key(), "nothing can arrive there any more")
		unlock(t, again)
	})
}

// Whoever shares the lease may have put something under the key that an entry was to have.
func TestWhatSomebodyElseHasPutUnderAnEntrysKeyStays(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		p := newParty(t, s)
		id := p.lease(t)
		theirs := fmt.Sprintf("lock/~mutex/%x", int64(id))
		operate(t, s, func(client *clientv3.Client) error {
			_, err := client.Put(t.Context(), theirs, "theirs", clientv3.WithLease(id))
			return err
		})
		done := soon(anHour(t), p.mutex(t).Lock)
		vtime.Advance(2 * partyTTL)
		stillWaits(t, done)
		requireKeys(t, s, "lock", theirs, theirs+"-1")
		operate(t, s, func(client *clientv3.Client) error {
			_, err := client.Delete(t.Context(), theirs)
			return err
		})
		unlock(t, granted(t, done))
	})
}

func TestAnEntryWhoseRemovalIsRefusedIsRemovedByALook(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		holder, p := newParty(t, s), newParty(t, s)
		h := take(t, holder.mutex(t))
		ctx, leave := context.WithCancel(anHour(t))
		done := soon(ctx, p.mutex(t).Lock)
		refused := p.refuseNext()
		leave()
		require.ErrorIs(t, (<-done).err, context.Canceled)
		<-refused
		synctest.Wait()
		requireEntries(t, s, 2)
		vtime.Advance(partyTTL)
		requireKeys(t, s, "lock", h.Key())
		unlock(t, h)
	})
}

func TestAHoldWhoseReleaseIsRefusedIsRemovedByALook(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		p := newParty(t, s)
		h := take(t, p.mutex(t))
		p.refuseNext()
		require.ErrorIs(t, h.Unlock(t.Context()), rpctypes.ErrPermissionDenied)
		requireKeys(t, s, "lock", h.Key())
		vtime.Advance(partyTTL)
		requireEntries(t, s, 0)
	})
}

// refuseNext has the server refuse the party's next transaction. The channel is closed then.
func (p *party) refuseNext() <-chan struct{} {
	return p.rec.RefuseCalls("Txn", 1, rpctypes.ErrGRPCPermissionDenied)
}

// A lock on several names whose second key is there already, put by whoever had the lease before, finds
// more before that than it can know by name.
func TestAMultiFindsAKeyOfItsLeaseInAQueueOfMany(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		operator := s.Client()
		l, err := operator.Grant(t.Context(), int64(time.Hour/time.Second))
		require.NoError(t, err)
		var theirs []string
		for _, id := range []clientv3.LeaseID{l.ID, 1, 2} {
			theirs = append(theirs, fmt.Sprintf("b/~mutex/%x", int64(id)))
		}
		put(t, operator, theirs[0], "left behind", clientv3.WithLease(l.ID))
		put(t, operator, theirs[1], "another")
		put(t, operator, theirs[2], "and another")
		session, err := lease.Adopt(t.Context(), operator, l.ID)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, session.Close(context.Background())) })
		m, err := lock.NewMulti(session, []string{"a", "b"})
		require.NoError(t, err)
		done := soon(anHour(t), m.Lock)
		vtime.Advance(time.Minute)
		stillWaits(t, done)
		for _, key := range theirs {
			remove(t, operator, key)
		}
		unlock(t, granted(t, done))
	})
}
