package election_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"github.com/conclave-go/conclave/election"
	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/peertest"
	"github.com/conclave-go/conclave/lease"
)

// official returns a session of the other library, and the recorder of its client.
func official(t *testing.T, c *etcdtest.Cluster) (*concurrency.Session, *etcdtest.Recorder) {
	t.Helper()
	rec := &etcdtest.Recorder{}
	s, err := concurrency.NewSession(c.Client(t, etcdtest.WithRecorder(rec)), concurrency.WithTTL(120))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s, rec
}

// campaignOfficially calls Campaign in the background and returns once it waits.
func campaignOfficially(t *testing.T, s *concurrency.Session, rec *etcdtest.Recorder, name, value string) (*concurrency.Election, <-chan error) {
	t.Helper()
	e, done := concurrency.NewElection(s, name), make(chan error, 1)
	before := len(peertest.WatchesIn(rec))
	go func() { done <- e.Campaign(guarded(t), value) }()
	eventually(t, func() bool {
		all := peertest.WatchesIn(rec)
		return len(all) > before && all[len(all)-1].Created != 0
	}, "they wait")
	return e, done
}

func TestEtcdLayoutStandsInOneElectionWithTheOfficialClient(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	layout := election.WithEtcdLayout()
	base := c.Prefix(t)
	for i, suffix := range []string{"e", "e/", "//", "", "~election", "\xff\x00", strings.Repeat("n", 2*election.MaxName)} {
		name := fmt.Sprintf("%s%d/%s", base, i, suffix)
		s, _ := official(t, c)
		theirs := concurrency.NewElection(s, name)
		ours, next := newPeer(t, c), newPeer(t, c)
		ctx, cancel := context.WithCancel(guarded(t))
		seen := concurrency.NewElection(s, name).Observe(ctx)
		o := observe(ctx, t, ours.Client, name, layout)
		o.next(t, "")
		require.NoError(t, theirs.Campaign(guarded(t), "theirs"))
		requireSeen(t, seen, "theirs")
		o.next(t, "theirs")

		// They lead, we wait, they wait behind us, and we behind them.
		second, ev := ours.campaignWith(t, name, "ours\xfe", layout)
		require.Equal(t, fmt.Sprintf("%s/%x", name, int64(ours.LeaseID(t))), ev.Key, "where they would put it")
		require.Equal(t, theirs.Key(), ev.Predecessor)
		require.Equal(t, "ours\xfe", string(get(t, c.Client(t), ev.Key).Value), "as it is")
		s2, rec2 := official(t, c)
		third, thirdDone := campaignOfficially(t, s2, rec2, name, "third")
		fourth, _ := next.campaignWith(t, name, "fourth", layout)
		all, err := election.Candidates(guarded(t), ours.Client, name, layout)
		require.NoError(t, err)
		require.Equal(t, []string{"theirs", "ours\xfe", "third", "fourth"}, valuesOf(all))
		require.Equal(t, s.Lease(), all[0].Lease)

		require.NoError(t, theirs.Proclaim(guarded(t), "theirs again"))
		requireSeen(t, seen, "theirs again")
		l := o.next(t, "theirs again")
		require.EqualValues(t, 2, l.Version)
		require.Equal(t, theirs.Rev(), l.CreateRevision)
		require.Greater(t, l.ModRevision, l.CreateRevision)
		require.Equal(t, s.Lease(), l.Lease)

		stillWaits(t, second)
		require.NoError(t, theirs.Resign(guarded(t)))
		term := elected(t, second)
		requireSeen(t, seen, "ours\xfe")
		o.next(t, "ours\xfe")
		require.NoError(t, term.Proclaim(guarded(t), "ours again"))
		requireSeen(t, seen, "ours again")
		o.next(t, "ours again")
		require.NoError(t, term.Proclaim(guarded(t), "ours again"))
		require.Equal(t, term.Header().Revision, o.next(t, "ours again").ModRevision, "each counts")
		resp, err := theirs.Leader(guarded(t))
		require.NoError(t, err)
		require.Equal(t, "ours again", string(resp.Kvs[0].Value))
		require.Empty(t, thirdDone)
		resign(t, term)
		require.NoError(t, await(t, thirdDone, "they are elected"))
		o.next(t, "third")
		stillWaits(t, fourth)
		require.NoError(t, third.Resign(guarded(t)))
		resign(t, elected(t, fourth))
		o.next(t, "fourth")
		o.next(t, "")
		cancel()
	}
}

func valuesOf(all []election.Candidate) (values []string) {
	for _, c := range all {
		values = append(values, c.Value)
	}
	return values
}

// requireSeen requires that their observer is told of a leader with this value.
func requireSeen(t *testing.T, seen <-chan *clientv3.GetResponse, value string) {
	t.Helper()
	for {
		resp := await(t, seen, "they observe "+value)
		if string(resp.Kvs[0].Value) == value {
			return
		}
	}
}

func TestEtcdLayoutElectsOneOfAMixedFleetAtATime(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name := c.Prefix(t) + "e"
	var leading, terms atomic.Int64
	lead := func() {
		if leading.Add(1) != 1 {
			t.Error("two lead")
		}
		terms.Add(1)
		runtime.Gosched()
		leading.Add(-1)
	}
	var wg sync.WaitGroup
	for range 2 {
		e := newPeer(t, c).election(t, name, election.WithEtcdLayout())
		for i := range 2 { // two of one session, which they cannot
			wg.Go(func() {
				for range 6 {
					err := e.Run(guarded(t), fmt.Sprint(i), func(context.Context, *election.Term) error { lead(); return nil })
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		s, _ := official(t, c)
		wg.Go(func() {
			theirs := concurrency.NewElection(s, name)
			for range 6 {
				if err := theirs.Campaign(guarded(t), "theirs"); err != nil {
					t.Error(err)
					return
				}
				lead()
				if err := theirs.Resign(guarded(t)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 2*3*6, terms.Load())
}

func TestEtcdLayoutTakesUpItsOwnKeyAfterALostReply(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, p := c.Prefix(t)+"e", newPeer(t, c)
	dropped := p.Rec.DropReplies("Txn", 1)
	term, err := p.election(t, name, election.WithEtcdLayout()).Campaign(guarded(t), "a")
	require.NoError(t, err)
	await(t, dropped, "a reply is lost")
	require.Equal(t, term.Token().Revision(), term.Header().Revision)
	all, err := election.Candidates(guarded(t), p.Client, name, election.WithEtcdLayout())
	require.NoError(t, err)
	require.Len(t, all, 1)
	resign(t, term)
}

// Two attempts are out side by side. The one that has found the key is looked at first, the one
// that has put it between that and the next step.
func TestEtcdLayoutTakesUpItsOwnKeyIfTheAnswerComesBeside(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, p := c.Prefix(t)+"e", newPeer(t, c, peertest.WithTTL(peertest.Unhurried)) // which sets when the second goes out
	var first atomic.Bool
	applied := make(chan struct{})
	p.Rec.Hook("Txn", func(ctx context.Context, req any, invoke func() error) error {
		txn, ok := req.(*pb.TxnRequest)
		switch {
		case !ok || txn.Success[0].GetRequestPut() == nil:
			return invoke()
		case first.Swap(true):
			<-applied
			return invoke()
		}
		err := invoke()
		close(applied)
		<-ctx.Done()
		return err
	})
	term, err := p.election(t, name, election.WithEtcdLayout()).Campaign(guarded(t), "a")
	require.NoError(t, err)
	all, err := election.Candidates(guarded(t), p.Client, name, election.WithEtcdLayout())
	require.NoError(t, err)
	require.Len(t, all, 1)
	resign(t, term)
}

// What another library has put under the session's lease is not taken for our own.
func TestEtcdLayoutQueuesBehindAnotherUserOfItsLease(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, p := c.Prefix(t)+"e", newPeer(t, c)
	s, err := concurrency.NewSession(c.Client(t), concurrency.WithLease(p.LeaseID(t)))
	require.NoError(t, err)
	t.Cleanup(s.Orphan)
	theirs := concurrency.NewElection(s, name)
	require.NoError(t, theirs.Campaign(guarded(t), "same"))
	done, ev := p.campaignWith(t, name, "same", election.WithEtcdLayout())
	require.Equal(t, theirs.Key(), ev.Predecessor)
	require.NoError(t, theirs.Resign(guarded(t)))
	resign(t, elected(t, done))
}

func TestEtcdLayoutTransfersToTheNextOnly(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, p, q := c.Prefix(t)+"e", newPeer(t, c), newPeer(t, c)
	layout := election.WithEtcdLayout()
	term, err := p.election(t, name, layout).Campaign(guarded(t), "a")
	require.NoError(t, err)
	s, rec := official(t, c)
	theirs, theirsDone := campaignOfficially(t, s, rec, name, "b")
	last, _ := q.campaignWith(t, name, "c", layout)
	all, err := election.Candidates(guarded(t), p.Client, name, layout)
	require.NoError(t, err)
	require.ErrorContains(t, term.Transfer(guarded(t), all[2]), "1 candidates are ahead of it: must be the next")
	require.NoError(t, term.Err())
	require.NoError(t, term.Transfer(guarded(t), all[1]))
	require.NoError(t, await(t, theirsDone, "they are elected"))
	require.NoError(t, theirs.Resign(guarded(t)))
	resign(t, elected(t, last))
}

func TestValuesThatAreTooLongAreRefusedAtOnceBySize(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, p := c.Prefix(t)+"e", newPeer(t, c)
	for _, tt := range []struct {
		most int
		opts []election.Option
	}{{election.MaxValue, nil}, {election.MaxEtcdValue, []election.Option{election.WithEtcdLayout()}}} {
		e := p.election(t, name, tt.opts...)
		long := strings.Repeat("v", tt.most+1)
		said := fmt.Sprintf("election: value of %d bytes: must be at most %d", tt.most+1, tt.most)
		p.Rec.Reset()
		_, err := e.Campaign(guarded(t), long)
		require.ErrorContains(t, err, said)
		require.ErrorContains(t, e.Run(guarded(t), long, func(context.Context, *election.Term) error { return nil }), said)
		require.Empty(t, txns(p.Rec), "nothing is sent")
		term, err := e.Campaign(guarded(t), long[1:])
		require.NoError(t, err, "the longest is taken")
		require.ErrorContains(t, term.Proclaim(guarded(t), long), said)
		require.NoError(t, term.Proclaim(guarded(t), long[1:]))
		require.NoError(t, term.Err())
		resign(t, term)
	}
}

func txns(rec *etcdtest.Recorder) (all []any) {
	for _, c := range rec.Calls() {
		if req, ok := c.Request.(*pb.TxnRequest); ok {
			all = append(all, req)
		}
	}
	return all
}

func TestEtcdLayoutHasNoPlaceForAnOwner(t *testing.T) {
	t.Parallel()
	_, err := election.New(newPeer(t, etcdtest.New(t)).Session, "e", election.WithEtcdLayout(), election.WithOwner("me"))
	require.ErrorContains(t, err, "WithEtcdLayout and WithOwner")
}

func TestResumeTakesUpATerm(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	for what, opts := range map[string][]election.Option{"ours": nil, "etcd": {election.WithEtcdLayout()}} {
		name, p := c.Prefix(t)+what, newPeer(t, c)
		e := p.election(t, name, opts...)
		term, err := e.Campaign(guarded(t), "a")
		require.NoError(t, err)
		again, err := p.election(t, name, opts...).Resume(guarded(t), term.Key(), term.Token().Revision())
		require.NoError(t, err)
		require.Same(t, term, again, "the process has it")
		resign(t, term)
		_, err = e.Resume(guarded(t), term.Key(), term.Token().Revision())
		require.ErrorIs(t, err, election.ErrLost)

		// Left by a process that had the lease before: another library shares it here.
		key := fmt.Sprintf("%s-9", term.Key())
		rev := put(t, c.Client(t), key, "left", clientv3.WithLease(p.LeaseID(t)))
		behind, _ := newPeer(t, c).campaignWith(t, name, "b", opts...)
		resumed, err := e.Resume(guarded(t), key, rev)
		require.NoError(t, err)
		require.Equal(t, rev, resumed.Token().Revision())
		require.Equal(t, rev, resumed.Header().Revision)
		require.NoError(t, resumed.Proclaim(guarded(t), "resumed"))
		stillWaits(t, behind)
		resign(t, resumed)
		resign(t, elected(t, behind))

		_, err = newPeer(t, c).election(t, name, opts...).Resume(guarded(t), key, rev)
		require.ErrorIs(t, err, election.ErrLost)
	}
}

// campaignWith calls Campaign in the background and returns once the candidate waits.
func (p *peer) campaignWith(t *testing.T, name, value string, opts ...election.Option) (<-chan outcome, lease.Event) {
	t.Helper()
	e, done, watched := p.election(t, name, opts...), make(chan outcome, 1), p.NextWatch(t)
	go func() {
		term, err := e.Campaign(guarded(t), value)
		done <- outcome{term, err}
	}()
	ev := await(t, p.Waiting, "the candidate waits")
	watched(ev.Predecessor, ev.Key)
	return done, ev
}
