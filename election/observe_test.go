package election_test

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/election"
	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/watch"
)

func TestObserveYieldsThePresentLeaderAndThenEveryChange(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, p, q := c.Prefix(t)+"e", newPeer(t, c), newPeer(t, c)
	o := observe(t.Context(), t, c.Client(t), name)
	require.Equal(t, election.Leader{}, o.next(t, ""))
	term := p.lead(t, name, "a")
	l := o.next(t, "a")
	require.Equal(t, term.Token(), l.Token)
	require.Equal(t, term.Key(), l.Key)
	require.Equal(t, current(t, p.Client, name), l)
	done, _ := q.queueUp(t.Context(), t, name, "b")
	late := observe(t.Context(), t, c.Client(t), name)
	late.next(t, "a")
	require.NoError(t, term.Proclaim(guarded(t), "a2"))
	require.NoError(t, term.Proclaim(guarded(t), "a2"), "no change")
	require.NoError(t, term.Proclaim(guarded(t), "a3"))
	resign(t, term)
	term = elected(t, done)
	resign(t, term)
	for _, o := range []*observer{o, late} {
		require.Equal(t, l.Token, o.next(t, "a2").Token)
		require.Equal(t, l.Token, o.next(t, "a3").Token)
		require.Equal(t, term.Token(), o.next(t, "b").Token)
		o.next(t, "")
		require.Empty(t, o.seen)
	}
}

func TestObserversOfOneClientShareOneWatch(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, p := c.Prefix(t)+"e", newPeer(t, c)
	term := p.lead(t, name, "a")
	var rec etcdtest.Recorder
	client := c.Client(t, etcdtest.WithRecorder(&rec))
	// Where the server is slow to create a watch, another is opened beside it and one of them closed.
	watches := func(want int) {
		t.Helper()
		eventually(t, func() bool { return rec.Open("Watch") == want }, "%d watches", want)
	}
	observers := make([]*observer, 0, 100)
	for range 100 {
		observers = append(observers, observe(t.Context(), t, client, name))
	}
	for _, o := range observers {
		o.next(t, "a")
	}
	require.NoError(t, term.Proclaim(guarded(t), "b"))
	for _, o := range observers {
		o.next(t, "b")
	}
	watches(1)

	// Another election is another watch.
	other := observe(t.Context(), t, client, name+"/other")
	other.next(t, "")
	watches(2)

	// The last closes it.
	for _, o := range observers[1:] {
		o.stop()
	}
	require.NoError(t, term.Proclaim(guarded(t), "c"))
	observers[0].next(t, "c")
	watches(2)
	observers[0].stop()
	watches(1)
	again := observe(t.Context(), t, client, name)
	again.next(t, "c")
	watches(2)
	resign(t, term)
	again.next(t, "")
}

func TestLeavingTheLoopReleasesEverything(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, p := c.Prefix(t)+"e", newPeer(t, c)
	var rec etcdtest.Recorder
	client := c.Client(t, etcdtest.WithRecorder(&rec))
	term := p.lead(t, name, "a")
	for l, err := range election.Observe(t.Context(), client, name) {
		require.NoError(t, err)
		require.Equal(t, "a", l.Value)
		break
	}
	require.Panics(t, func() {
		for _, err := range election.Observe(t.Context(), client, name) {
			panic(err)
		}
	})
	resign(t, term)
	eventually(t, func() bool { return rec.Open("Watch") == 0 }, "all watches are closed")
}

func TestObserveEndsWithItsContextsError(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, p := c.Prefix(t)+"e", newPeer(t, c)
	for _, cut := range []bool{false, true} {
		ctx, cancel := context.WithCancelCause(guarded(t))
		o := observe(ctx, t, p.Client, name)
		o.next(t, "")
		if cut {
			p.Net.Cut()
		}
		cancel(errLead)
		err := o.fails(t)
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, err, errLead)
		require.ErrorContains(t, err, "election: observing ")

		done, cancelAtOnce := context.WithCancel(t.Context())
		cancelAtOnce()
		require.ErrorIs(t, observe(done, t, p.Client, name).fails(t), context.Canceled)
	}
	p.Net.Heal()
}

func TestObserveEndsVisiblyWhenTheServerRefusesOrTheClientIsClosed(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	require.NoError(t, c.EnableAuth(guarded(t)))
	require.NoError(t, c.AddUser(guarded(t), "user", "password", "theirs/"))
	client := c.Client(t, etcdtest.WithUser("user", "password"))
	require.ErrorIs(t, observe(t.Context(), t, client, "others").fails(t), rpctypes.ErrPermissionDenied)
	observers := []*observer{observe(t.Context(), t, client, "theirs/e"), observe(t.Context(), t, client, "theirs/e")}
	for _, o := range observers {
		o.next(t, "")
	}
	require.NoError(t, client.Close())
	for _, o := range observers {
		require.Error(t, o.fails(t))
	}
	require.Error(t, observe(t.Context(), t, client, "theirs/e").fails(t))
}

// The watch that observers share may be behind, here because events do not arrive.
func TestObserveNeverBeginsWithASupersededLeader(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, p, q := c.Prefix(t)+"e", newPeer(t, c), newPeer(t, c)
	var rec etcdtest.Recorder
	client := c.Client(t, etcdtest.WithRecorder(&rec))
	first := p.lead(t, name, "a")
	early := observe(t.Context(), t, client, name)
	early.next(t, "a")
	require.NoError(t, first.Proclaim(guarded(t), "a2"))
	early.next(t, "a2") // its watch works

	held, release := make(chan struct{}, 100), make(chan struct{})
	rec.HookStream(func(_ string, d etcdtest.Direction, msg any) (bool, error) {
		if resp, ok := msg.(*pb.WatchResponse); ok && d == etcdtest.Recv && len(resp.Events) > 0 {
			held <- struct{}{}
			<-release
		}
		return false, nil
	})
	resign(t, first)
	await(t, held, "the event is on its way")
	second := q.lead(t, name, "b")
	late := observe(t.Context(), t, client, name)
	require.Equal(t, second.Token(), late.next(t, "b").Token)
	require.Empty(t, early.seen)
	close(release)
	early.next(t, "")
	early.next(t, "b")
	resign(t, second)
	early.next(t, "")
	late.next(t, "") // and nothing of what came before b
}

func TestASlowObserverDelaysNobodyAndMissesTheOldestChanges(t *testing.T) {
	t.Parallel()
	const changes = 300
	c := etcdtest.New(t)
	name, p, client := c.Prefix(t)+"e", newPeer(t, c), c.Client(t)
	term := p.lead(t, name, "0")
	pace := make(chan struct{})
	slow := observeSlowly(t.Context(), t, client, name, pace)
	slow.next(t, "0")
	fast := observe(t.Context(), t, client, name)
	fast.next(t, "0")
	for i := range changes {
		require.NoError(t, term.Proclaim(guarded(t), fmt.Sprint(i+1)))
		fast.next(t, fmt.Sprint(i+1))
	}
	close(pace)
	var got []int
	for len(got) == 0 || got[len(got)-1] != changes {
		var i int
		_, err := fmt.Sscan(await(t, slow.seen, "a change").leader.Value, &i)
		require.NoError(t, err)
		got = append(got, i)
	}
	require.True(t, slices.IsSorted(got))
	require.GreaterOrEqual(t, len(got), 128)
	require.Less(t, len(got), changes)
	require.Equal(t, changes-127, got[len(got)-128])
	resign(t, term)
}

func TestObserversGoOnThroughReconnectsAndCompaction(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	operator, leader, watcher := c.Client(t), newPeer(t, c), newPeer(t, c)
	term := leader.lead(t, "e", "a")
	o := observe(t.Context(), t, watcher.Client, "e")
	o.next(t, "a")
	require.NoError(t, term.Proclaim(guarded(t), "b"))
	o.next(t, "b")

	watcher.Net.Reset()
	require.NoError(t, term.Proclaim(guarded(t), "c"))
	o.next(t, "c")

	// What happens while it is away is delivered later.
	watcher.Net.Refuse()
	for _, value := range []string{"d", "e", "f"} {
		require.NoError(t, term.Proclaim(guarded(t), value))
	}
	watcher.Net.Heal()
	for _, value := range []string{"d", "e", "f"} {
		o.next(t, value)
	}

	// Unless history is gone by then.
	watcher.Net.Refuse()
	require.NoError(t, term.Proclaim(guarded(t), "g"))
	resign(t, term)
	between := leader.lead(t, "e", "h")
	resign(t, between)
	term = leader.lead(t, "e", "i")
	require.NoError(t, c.Compact(guarded(t)))
	put(t, operator, "k", "v")
	watcher.Net.Heal()
	require.Equal(t, term.Token(), o.next(t, "i").Token)

	watcher.Net.Refuse()
	resign(t, term)
	require.NoError(t, c.Compact(guarded(t)))
	put(t, operator, "k", "v")
	watcher.Net.Heal()
	o.next(t, "")

	require.NoError(t, c.Kill(0))
	require.NoError(t, c.Restart(guarded(t), 0))
	term = leader.lead(t, "e", "j")
	o.next(t, "j")
	resign(t, term)
	o.next(t, "")
}

func TestObserversOfAMemberThatVanishesGoOn(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		client, cut := s.CutClient()
		o := observe(anHour(t), t, client, virtualName)
		r := runVirtually(t, newVirtualElection(t, s.Client(), 10*time.Second), "a")
		term := <-r.terms
		for range 2 { // nobody, and a; or a at once
			if l := (<-o.seen).leader; l.Exists() {
				break
			}
		}
		cut.Cut()
		require.NoError(t, term.Proclaim(t.Context(), "b"))
		vtime.Advance(2 * time.Minute)
		require.Empty(t, o.seen)
		cut.Heal()
		o.next(t, "b")
		r.cancel(nil)
		require.Error(t, <-r.result)
		o.next(t, "")
		o.stop()
	})
}

func TestObserveYieldsNothingOfCandidatesThatComeAndGo(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	k := newContest(t, c, 3)
	o := observe(t.Context(), t, c.Client(t), k.name)
	o.next(t, "a")
	k.cancel[1]()
	require.Error(t, await(t, k.done[1], "it leaves").err)
	awaitValues(t, k.leader.Client, k.name, "a", "b", "d")
	resign(t, k.term)
	o.next(t, "b")
	resign(t, elected(t, k.done[0]))
	o.next(t, "d")
	resign(t, elected(t, k.done[2]))
	o.next(t, "")
}

// What happens in one transaction has no state in between.
func TestObserveYieldsNoLeaderThatWasOnlyBetweenTwoStepsOfATransaction(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, operator := c.Prefix(t)+"e", c.Client(t)
	key := func(n int) string { return fmt.Sprintf("%s/~election/%d", name, n) }
	for n := range 3 {
		put(t, operator, key(n), fmt.Sprintf(`{"value":"%d"}`, n))
	}
	o := observe(t.Context(), t, c.Client(t), name)
	o.next(t, "0")
	put(t, operator, key(0), `{"value":"0 again"}`)
	o.next(t, "0 again") // its watch works
	_, err := operator.Txn(guarded(t)).Then(clientv3.OpDelete(key(0)), clientv3.OpDelete(key(1))).Commit()
	require.NoError(t, err)
	o.next(t, "2")
	remove(t, operator, key(2))
	o.next(t, "")
}

// A leader that resigned and stands again is last, also for observers who missed that.
func TestObserversAreNotMisledByAKeyThatWasUsedAgainWhileTheyWereAway(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	p, q, watcher := newPeer(t, c), newPeer(t, c), newPeer(t, c)
	term := p.lead(t, "e", "a")
	done, _ := q.queueUp(t.Context(), t, "e", "b")
	o := observe(t.Context(), t, watcher.Client, "e")
	o.next(t, "a")
	require.NoError(t, term.Proclaim(guarded(t), "a2"))
	o.next(t, "a2") // its watch works
	watcher.Net.Refuse()
	key := term.Key()
	resign(t, term)
	second := elected(t, done)
	again, e := p.queueUp(t.Context(), t, "e", "a again")
	require.Equal(t, key, e.Key)
	require.NoError(t, c.Compact(guarded(t)))
	put(t, p.Client, "k", "v")
	watcher.Net.Heal()
	o.next(t, "b")
	resign(t, second)
	o.next(t, "a again")
	resign(t, elected(t, again))
	o.next(t, "")
}

// The second was gone before the leader was, which the difference between the two states
// does not tell: taken for steps, it would make the second lead for one of them.
func TestObserversAreNotToldOfWhoNeverLedWhileTheyWereAway(t *testing.T) {
	t.Parallel()
	for what, keys := range map[string][2]string{"before": {"2", "1"}, "behind": {"1", "2"}} {
		c := etcdtest.New(t, etcdtest.WithControl())
		operator, watcher := c.Client(t), newPeer(t, c)
		first, second := "e/~election/"+keys[0], "e/~election/"+keys[1]
		put(t, operator, first, `{"value":"a"}`)
		put(t, operator, second, `{"value":"never"}`)
		o := observe(t.Context(), t, watcher.Client, "e")
		o.next(t, "a")
		put(t, operator, first, `{"value":"a2"}`)
		o.next(t, "a2") // its watch works
		watcher.Net.Refuse()
		remove(t, operator, second)
		remove(t, operator, first)
		put(t, operator, first, `{"value":"a again"}`)
		require.NoError(t, c.Compact(guarded(t)))
		put(t, operator, "k", "v")
		watcher.Net.Heal()
		require.Equal(t, "a again", await(t, o.seen, "a change").leader.Value, what)
	}
}

// One observer has not heard yet that the watch has failed when another comes.
func TestObserversThatComeAfterAFailureAreNotGivenIt(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, p := c.Prefix(t)+"e", newPeer(t, c)
	var rec etcdtest.Recorder
	client := c.Client(t, etcdtest.WithRecorder(&rec))
	term := p.lead(t, name, "a")
	pace := make(chan struct{})
	slow := observeSlowly(t.Context(), t, client, name, pace)
	slow.next(t, "a")
	first := observe(t.Context(), t, client, name)
	first.next(t, "a")
	require.NoError(t, term.Proclaim(guarded(t), "b"))
	first.next(t, "b") // its watch works

	var once atomic.Bool
	rec.HookStream(func(_ string, d etcdtest.Direction, msg any) (bool, error) {
		if resp, ok := msg.(*pb.WatchResponse); ok && d == etcdtest.Recv && once.CompareAndSwap(false, true) {
			resp.Header.ClusterId++
		}
		return false, nil
	})
	require.NoError(t, term.Proclaim(guarded(t), "c"))
	require.ErrorIs(t, first.fails(t), watch.ErrCluster)
	late := observe(t.Context(), t, client, name)
	late.next(t, "c")
	close(pace)
	require.ErrorIs(t, slow.fails(t), watch.ErrCluster)
	require.NoError(t, term.Proclaim(guarded(t), "d"))
	late.next(t, "d")
	resign(t, term)
	late.next(t, "")
}

func TestObserveMissesNothingBetweenTheFirstLeaderAndTheBeginningOfItsWatch(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, p := c.Prefix(t)+"e", newPeer(t, c)
	var rec etcdtest.Recorder
	client := c.Client(t, etcdtest.WithRecorder(&rec))
	term := p.lead(t, name, "0")
	held, release := make(chan struct{}, 100), make(chan struct{})
	rec.Hook("Range", func(_ context.Context, req any, invoke func() error) error {
		if r, ok := req.(*pb.RangeRequest); ok && r.Limit != 1 { // the watch's own, not that of the leader
			held <- struct{}{}
			<-release
		}
		return invoke()
	})
	o := observe(t.Context(), t, client, name)
	await(t, held, "the watch begins")
	for i := range 5 {
		require.NoError(t, term.Proclaim(guarded(t), fmt.Sprint(i+1)))
	}
	close(release)
	first := await(t, o.seen, "the present leader")
	require.NoError(t, first.err)
	var begin int
	_, err := fmt.Sscan(first.leader.Value, &begin)
	require.NoError(t, err)
	require.NoError(t, term.Proclaim(guarded(t), "6"))
	for i := begin + 1; i <= 6; i++ {
		o.next(t, fmt.Sprint(i))
	}
	resign(t, term)
	o.next(t, "")
}
