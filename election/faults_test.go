package election_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/election"
	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lease"
)

// interferences are what an operator does to a candidate.
var interferences = map[string]func(t *testing.T, operator *clientv3.Client, key string){
	"key deleted": func(t *testing.T, operator *clientv3.Client, key string) {
		t.Helper()
		remove(t, operator, key)
	},
	"key deleted and put again": func(t *testing.T, operator *clientv3.Client, key string) {
		t.Helper()
		remove(t, operator, key)
		eventually(t, func() bool { // the lease is so short that it may end before
			l, err := operator.Grant(guarded(t), 1)
			if err == nil {
				_, err = etcdtest.Put(guarded(t), operator, key, "somebody else", clientv3.WithLease(l.ID))
			}
			return err == nil
		}, "put again")
	},
	"lease revoked": func(t *testing.T, operator *clientv3.Client, key string) {
		t.Helper()
		revoke(t, operator, clientv3.LeaseID(get(t, operator, key).Lease))
	},
}

// eachInterference runs a subtest for each.
func eachInterference(t *testing.T, c *etcdtest.Cluster, test func(t *testing.T, name string, interfere func(key string))) {
	t.Helper()
	for what, do := range interferences {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			operator := c.Client(t)
			test(t, c.Prefix(t)+"e", func(key string) { do(t, operator, key) })
		})
	}
}

// isCheck reports whether a request is the wake-up check of a candidate that came late:
// it reads its own key.
func isCheck(req any, key string) bool {
	txn, ok := req.(*pb.TxnRequest)
	return ok && len(txn.Compare) == 0 && len(txn.Success) > 0 && string(txn.Success[0].GetRequestRange().GetKey()) == key
}

func TestOperatorInterferesWithACandidateThatWaits(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	for what, ttl := range map[string]time.Duration{"noticed when it is woken": calm, "noticed by its look": unhurried} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			eachInterference(t, c, func(t *testing.T, name string, interfere func(string)) {
				t.Helper()
				leader, p := newPeer(t, c), newPeer(t, c, withTTL(ttl))
				term := leader.lead(t, name, "a")
				done, e := p.queueUp(t.Context(), t, name, "b")
				interfere(e.Key)
				if ttl == unhurried {
					again := await(t, p.Waiting, "it queues again")
					require.Greater(t, again.Revision, e.Revision)
				}
				resign(t, term)
				next := elected(t, done)
				require.Greater(t, next.Token().Revision(), e.Revision)
				requireLeads(t, leader.Client, name, next)
				resign(t, next)
			})
		})
	}
}

// requireLeads requires that the term's key leads.
func requireLeads(t *testing.T, client *clientv3.Client, name string, term *election.Term) {
	t.Helper()
	l := current(t, client, name)
	require.Equal(t, term.Key(), l.Key)
	require.Equal(t, term.Token(), l.Token)
}

// late has come to a queue with more before it than it knows by name, of whom the last has come to lead.
func late(t *testing.T, c *etcdtest.Cluster, name string) (leader *election.Term, p *peer, done <-chan outcome, e lease.Event) {
	t.Helper()
	leader = newPeer(t, c).lead(t, name, "a")
	var before []<-chan outcome
	for range 3 {
		waits, _ := newPeer(t, c).queueUp(t.Context(), t, name, "b")
		before = append(before, waits)
	}
	p = newPeer(t, c)
	done, e = p.queueUp(t.Context(), t, name, "c")
	for _, waits := range before {
		resign(t, leader)
		leader = elected(t, waits)
	}
	return leader, p, done, e
}

func TestOperatorInterferesWithACandidateThatIsAboutToWin(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	eachInterference(t, c, func(t *testing.T, name string, interfere func(string)) {
		t.Helper()
		leader, p, done, e := late(t, c, name)
		var once sync.Once
		p.Rec.Hook("Txn", func(_ context.Context, req any, invoke func() error) error {
			if isCheck(req, e.Key) {
				once.Do(func() { interfere(e.Key) })
			}
			return invoke()
		})
		resign(t, leader)
		next := elected(t, done)
		require.Greater(t, next.Token().Revision(), e.Revision, "what was gone was not elected")
		requireLeads(t, p.Client, name, next)
		resign(t, next)
	})
}

// Here the check was fine, and then the reply took its time: the term was won, and is
// over as soon as anything is done with it.
func TestOperatorInterferesWithACandidateThatHasWonAndDoesNotKnow(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	eachInterference(t, c, func(t *testing.T, name string, interfere func(string)) {
		t.Helper()
		leader, p, done, e := late(t, c, name)
		var once sync.Once
		p.Rec.Hook("Txn", func(_ context.Context, req any, invoke func() error) error {
			if !isCheck(req, e.Key) {
				return invoke()
			}
			// A member tells of a deletion before it can be read, and a check that is older than
			// what it was told of is made again.
			eventually(t, func() bool { return get(t, p.Client, leader.Key()) == nil }, "the deletion can be read")
			err := invoke()
			once.Do(func() { interfere(e.Key) })
			return err
		})
		resign(t, leader)
		won := elected(t, done)
		require.Equal(t, e.Revision, won.Token().Revision())
		require.ErrorIs(t, won.Proclaim(guarded(t), "b2"), election.ErrLost)
		lost(t, won)
		require.ErrorIs(t, won.Resign(guarded(t)), election.ErrLost)
	})
}

func TestOperatorInterferesWithALeader(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	for what, notice := range map[string]func(t *testing.T, term *election.Term){
		"noticed by its look": lost,
		"noticed when it proclaims": func(t *testing.T, term *election.Term) {
			t.Helper()
			require.ErrorIs(t, term.Proclaim(guarded(t), "a2"), election.ErrLost)
			lost(t, term)
		},
		"noticed when it writes": func(t *testing.T, term *election.Term) {
			t.Helper()
			_, err := term.Txn(guarded(t)).Then(clientv3.OpPut(term.Key()+"/data", "x")).Commit()
			require.ErrorIs(t, err, election.ErrLost)
			lost(t, term)
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			eachInterference(t, c, func(t *testing.T, name string, interfere func(string)) {
				t.Helper()
				p, observer := newPeer(t, c, withTTL(unhurried)), c.Client(t)
				term := p.lead(t, name, "a")
				o := observe(t.Context(), t, observer, name)
				o.next(t, "a")
				interfere(term.Key())
				notice(t, term)
				require.ErrorIs(t, term.Resign(guarded(t)), election.ErrLost)
				require.ErrorIs(t, term.Proclaim(guarded(t), "a3"), election.ErrLost)
				next := p.lead(t, name, "c")
				require.Greater(t, next.Token(), term.Token())
				resign(t, next)
				for _, v := range []string{"a2", "a3"} {
					require.NotContains(t, values(t, observer, name), v)
				}
				require.Nil(t, get(t, observer, term.Key()+"/data"))
			})
		})
	}
}

func TestOperatorInterferesWithALeaderThatResigns(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	eachInterference(t, c, func(t *testing.T, name string, interfere func(string)) {
		t.Helper()
		p, next := newPeer(t, c), newPeer(t, c)
		term := p.lead(t, name, "a")
		done, _ := next.queueUp(t.Context(), t, name, "b")
		var once sync.Once
		p.Rec.Hook("Txn", func(_ context.Context, _ any, invoke func() error) error {
			once.Do(func() { interfere(term.Key()) })
			return invoke()
		})
		require.ErrorIs(t, term.Resign(guarded(t)), election.ErrLost, "it ended before it was given up")
		require.ErrorIs(t, term.Resign(guarded(t)), election.ErrLost)
		resign(t, elected(t, done))
	})
}

func TestProclamationWhoseReplyIsLostTakesEffectOnce(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, p := c.Prefix(t)+"e", newPeer(t, c)
	term := p.lead(t, name, "a")
	dropped := p.Rec.DropReplies("Txn", 2)
	require.NoError(t, term.Proclaim(guarded(t), "b"))
	await(t, dropped, "the lost reply")
	require.EqualValues(t, 2, get(t, p.Client, term.Key()).Version)
	require.NoError(t, term.Proclaim(guarded(t), "c"))
	require.Equal(t, "c", current(t, p.Client, name).Value)
	resign(t, term)
}

// A proclamation that was given up may still arrive, but not after a later one.
func TestProclamationThatArrivesLateDoesNotUndoALaterOne(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, p := c.Prefix(t)+"e", newPeer(t, c)
	term := p.lead(t, name, "a")
	swallowed := make(chan *pb.TxnRequest, 10)
	ctx, cancel := context.WithCancel(guarded(t))
	unhook := p.Rec.Hook("Txn", func(ctx context.Context, req any, _ func() error) error {
		if txn, ok := req.(*pb.TxnRequest); ok {
			swallowed <- txn
		}
		cancel()
		<-ctx.Done()
		return ctx.Err()
	})
	require.ErrorIs(t, term.Proclaim(ctx, "late"), context.Canceled)
	unhook()
	require.NoError(t, term.Err())
	require.NoError(t, term.Proclaim(guarded(t), "b"))
	_, err := pb.NewKVClient(p.Client.ActiveConnection()).Txn(guarded(t), await(t, swallowed, "the late one"))
	require.NoError(t, err)
	require.Equal(t, "b", current(t, p.Client, name).Value)
	resign(t, term)
}

func TestCampaignLeavesTheQueueWhenItsContextEndsInAPartition(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, leader, p := c.Prefix(t)+"e", newPeer(t, c), newPeer(t, c)
	term := leader.lead(t, name, "a")
	ctx, cancel := context.WithCancelCause(guarded(t))
	done, _ := p.queueUp(ctx, t, name, "b")
	p.Net.Cut()
	cancel(errLead)
	o := await(t, done, "Campaign returns")
	require.Nil(t, o.term)
	require.ErrorIs(t, o.err, context.Canceled)
	require.ErrorIs(t, o.err, errLead)
	p.Net.Heal()
	awaitValues(t, leader.Client, name, "a")
	resign(t, term)
}

func TestResignDuringAPartitionReturnsWithItsContextAndIsFinishedAfterIt(t *testing.T) {
	t.Parallel()
	const ttl = 10 * time.Second
	for what, outage := range map[string]time.Duration{"short": ttl / 3, "long": 3 * ttl} {
		for patience, wait := range map[string]time.Duration{"at once": 0, "soon": ttl / 10} {
			t.Run(what+" "+patience, func(t *testing.T) {
				t.Parallel()
				vtime.Run(t, func(t *testing.T, s *vtime.Server) {
					client, cut := s.CutClient()
					term, err := newVirtualElection(t, client, ttl).Campaign(anHour(t), "a")
					require.NoError(t, err)
					next := runVirtually(t, newVirtualElection(t, s.Client(), ttl), "b")
					vtime.Advance(ttl)
					cut.Cut()
					began := time.Now()
					time.AfterFunc(outage, cut.Heal)
					ctx, cancel := context.WithTimeout(t.Context(), wait)
					defer cancel()
					require.ErrorIs(t, term.Resign(ctx), context.DeadlineExceeded)
					require.Equal(t, wait, time.Since(began))
					require.ErrorIs(t, term.Err(), election.ErrResigned)
					require.False(t, term.Deadline().After(began))

					<-next.terms
					t.Logf("elected after %v", time.Since(began))
					require.LessOrEqual(t, time.Since(began), min(outage+ttl/3, ttl+time.Second))
					requireCandidates(t, s, "b")
					if outage < ttl {
						require.NoError(t, term.Resign(t.Context()), "waits again, and is told")
					} else {
						require.ErrorIs(t, term.Resign(t.Context()), lease.ErrLost, "not confirmed")
						require.NotErrorIs(t, term.Resign(t.Context()), election.ErrLost, "but given up")
					}
					next.leading <- nil
					require.NoError(t, <-next.result)
				})
			})
		}
	}
}
