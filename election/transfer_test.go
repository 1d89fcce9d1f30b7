package election_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/conclave-go/conclave/election"
	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/lease"
)

// contest is a leader "a" and candidates "b", "c" and so on that wait.
type contest struct {
	name   string
	leader *peer
	term   *election.Term
	peers  []*peer
	done   []<-chan outcome
	events []lease.Event
	cancel []context.CancelFunc
}

func newContest(t *testing.T, c *etcdtest.Cluster, waiting int) *contest {
	t.Helper()
	k := &contest{name: c.Prefix(t) + "e", leader: newPeer(t, c)}
	k.term = k.leader.lead(t, k.name, "a")
	for i := range waiting {
		p := newPeer(t, c)
		ctx, cancel := context.WithCancel(t.Context())
		t.Cleanup(cancel)
		done, e := p.queueUp(ctx, t, k.name, string(rune('b'+i)))
		k.peers, k.done = append(k.peers, p), append(k.done, done)
		k.events, k.cancel = append(k.events, e), append(k.cancel, cancel)
	}
	return k
}

// candidate returns the i-th that waits, from 0.
func (k *contest) candidate(t *testing.T, i int) election.Candidate {
	t.Helper()
	for _, c := range candidates(t, k.leader.Client, k.name) {
		if c.Key == k.events[i].Key {
			return c
		}
	}
	require.FailNow(t, "no such candidate")
	return election.Candidate{}
}

func TestTransferElectsTheChosenCandidateAndTheSkippedQueueAgain(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	k := newContest(t, c, 4)
	require.Equal(t, []string{"a", "b", "c", "d", "e"}, values(t, k.leader.Client, k.name))
	o := observe(t.Context(), t, c.Client(t), k.name)
	o.next(t, "a")
	to := k.candidate(t, 2)
	require.NoError(t, k.term.Transfer(guarded(t), to))
	require.ErrorIs(t, k.term.Err(), election.ErrResigned)
	o.next(t, "d")
	term := elected(t, k.done[2])
	require.Equal(t, to.Token, term.Token())
	// The skipped are told by their watches or by the look.
	for i := range 2 {
		again := await(t, k.peers[i].Waiting, "a skipped candidate queues again")
		require.Greater(t, again.Revision, k.events[3].Revision)
		stillWaits(t, k.done[i])
	}
	all := values(t, k.leader.Client, k.name)
	require.Equal(t, []string{"d", "e"}, all[:2])
	require.ElementsMatch(t, []string{"b", "c"}, all[2:])

	resign(t, term)
	resign(t, elected(t, k.done[3]))
	var wg sync.WaitGroup
	for i := range 2 {
		wg.Go(func() {
			if o := <-k.done[i]; o.err != nil || o.term.Resign(t.Context()) != nil {
				t.Error("a skipped candidate was not elected", o.err)
			}
		})
	}
	wg.Wait()
	require.ErrorIs(t, k.term.Transfer(guarded(t), to), election.ErrResigned)
}

func TestTransferToTheNextSkipsNobody(t *testing.T) {
	t.Parallel()
	k := newContest(t, etcdtest.New(t), 2)
	k.leader.Rec.Reset()
	require.NoError(t, k.term.Transfer(guarded(t), k.candidate(t, 0)))
	require.Equal(t, 1, k.leader.Rec.Writes())
	resign(t, elected(t, k.done[0]))
	resign(t, elected(t, k.done[1]))
}

func TestTransferIsRefusedToWhomDoesNotWait(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	k := newContest(t, c, 2)
	other := newPeer(t, c).lead(t, c.Prefix(t)+"other", "x")
	gone, later := k.candidate(t, 0), k.candidate(t, 1)
	k.cancel[0]()
	awaitValues(t, k.leader.Client, k.name, "a", "c")
	later.Token = other.Token() // under the same key, another time
	own := candidates(t, k.leader.Client, k.name)[0]
	for want, to := range map[string]election.Candidate{
		"no longer waits":          gone,
		"no longer wait":           later,
		"is the leader itself":     own,
		`"" does not stand`:        {},
		"does not stand in":        {Key: other.Key(), Token: other.Token()},
		"does not stand in electi": {Key: k.name + "/~election", Token: 1},
	} {
		err := k.term.Transfer(guarded(t), to)
		require.ErrorIs(t, err, election.ErrNotCandidate)
		require.ErrorContains(t, err, want)
		require.NoError(t, k.term.Err(), "the term goes on")
	}
	require.Equal(t, "a", current(t, k.leader.Client, k.name).Value)
	resign(t, k.term)
	resign(t, elected(t, k.done[1]))
	resign(t, other)
}

func TestTransferToACandidateThatLeavesAtTheLastMomentIsAResignation(t *testing.T) {
	t.Parallel()
	k := newContest(t, etcdtest.New(t), 3)
	to := k.candidate(t, 2)
	var once sync.Once
	k.leader.Rec.Hook("Txn", func(_ context.Context, _ any, invoke func() error) error {
		once.Do(func() { remove(t, k.peers[0].Client, to.Key) })
		return invoke()
	})
	err := k.term.Transfer(guarded(t), to)
	require.ErrorIs(t, err, election.ErrNotCandidate)
	require.ErrorIs(t, k.term.Err(), election.ErrResigned)
	first := elected(t, k.done[0])
	require.Equal(t, k.events[0].Revision, first.Token().Revision(), "its place was kept")
	resign(t, first)
	second := elected(t, k.done[1])
	require.Equal(t, k.events[1].Revision, second.Token().Revision(), "its place was kept")
	resign(t, second)
	resign(t, elected(t, k.done[2]))
}

func TestTransferToleratesThatOthersLeaveAndTheirKeysAreUsedAgain(t *testing.T) {
	t.Parallel()
	k := newContest(t, etcdtest.New(t), 3)
	to := k.candidate(t, 2)
	var once sync.Once
	var again int64
	k.leader.Rec.Hook("Txn", func(_ context.Context, _ any, invoke func() error) error {
		once.Do(func() {
			remove(t, k.leader.Client, k.events[0].Key)
			remove(t, k.leader.Client, k.events[1].Key)
			again = put(t, k.leader.Client, k.events[1].Key, "{}")
		})
		return invoke()
	})
	require.NoError(t, k.term.Transfer(guarded(t), to))
	term := elected(t, k.done[2])
	require.Equal(t, again, get(t, k.leader.Client, k.events[1].Key).CreateRevision, "an innocent's entry stands")
	remove(t, k.leader.Client, k.events[1].Key)
	resign(t, term)
}

func TestTransferRecognisesThatItSucceededWhenTheReplyIsLost(t *testing.T) {
	t.Parallel()
	k := newContest(t, etcdtest.New(t), 2)
	to := k.candidate(t, 1)
	dropped := k.leader.Rec.DropReplies("Txn", 1)
	require.NoError(t, k.term.Transfer(guarded(t), to))
	await(t, dropped, "the lost reply")
	resign(t, elected(t, k.done[1]))
	resign(t, elected(t, k.done[0]))
}

// Its key stands for another candidacy by then.
func TestTransferToACandidateWhoseKeyLeadsForAnotherHasFailed(t *testing.T) {
	t.Parallel()
	k := newContest(t, etcdtest.New(t), 0)
	operator := k.leader.Cluster.Client(t)
	key := k.name + "/~election/by-hand"
	put(t, operator, key, "{}")
	to := candidates(t, operator, k.name)[1]
	var once sync.Once
	k.leader.Rec.Hook("Txn", func(_ context.Context, _ any, invoke func() error) (err error) {
		err = errLead
		once.Do(func() {
			remove(t, operator, key)
			err = invoke()
			put(t, operator, key, "{}")
		})
		if errors.Is(err, errLead) {
			return invoke()
		}
		return err
	})
	require.ErrorIs(t, k.term.Transfer(guarded(t), to), election.ErrNotCandidate)
	require.ErrorIs(t, k.term.Err(), election.ErrResigned)
	l := current(t, operator, k.name)
	require.Equal(t, to.Key, l.Key)
	require.NotEqual(t, to.Token, l.Token)
}

func TestTransferThatNeverArrivesIsAResignation(t *testing.T) {
	t.Parallel()
	k := newContest(t, etcdtest.New(t), 2)
	to := k.candidate(t, 1)
	var once sync.Once
	k.leader.Rec.Hook("Txn", func(_ context.Context, _ any, invoke func() error) error {
		err := context.DeadlineExceeded
		once.Do(func() { err = nil })
		if err == nil {
			return context.DeadlineExceeded // the request is lost
		}
		return invoke()
	})
	require.ErrorIs(t, k.term.Transfer(guarded(t), to), election.ErrNotCandidate)
	require.ErrorIs(t, k.term.Err(), election.ErrResigned)
	resign(t, elected(t, k.done[0]))
	resign(t, elected(t, k.done[1]))
}

func TestTransferWithoutContextKeepsTheTerm(t *testing.T) {
	t.Parallel()
	k := newContest(t, etcdtest.New(t), 1)
	to := k.candidate(t, 0)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, k.term.Transfer(ctx, to), context.Canceled)
	require.NoError(t, k.term.Err())
	resign(t, k.term)
	resign(t, elected(t, k.done[0]))
}

func TestTransferOfATermWhoseKeyWasDeletedSaysThatItWasLost(t *testing.T) {
	t.Parallel()
	k := newContest(t, etcdtest.New(t), 1)
	to := k.candidate(t, 0)
	remove(t, k.leader.Client, k.term.Key())
	require.ErrorIs(t, k.term.Transfer(guarded(t), to), election.ErrLost)
	require.ErrorIs(t, k.term.Err(), election.ErrLost)
	resign(t, elected(t, k.done[0]))
}

// Nobody has resigned then, and who has the key is left alone.
func TestTransferOfATermWhoseKeyIsSomebodyElsesSaysThatItWasLost(t *testing.T) {
	t.Parallel()
	k := newContest(t, etcdtest.New(t), 0)
	operator := k.leader.Cluster.Client(t)
	remove(t, operator, k.term.Key())
	put(t, operator, k.term.Key(), "{}")
	put(t, operator, k.name+"/~election/by-hand", "{}")
	to := candidates(t, operator, k.name)[1]
	require.ErrorIs(t, k.term.Transfer(guarded(t), to), election.ErrLost)
	require.ErrorIs(t, k.term.Err(), election.ErrLost)
	require.NotErrorIs(t, k.term.Err(), election.ErrResigned)
	require.Len(t, candidates(t, operator, k.name), 2)
}

func TestTransferReaches126CandidatesPast(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, p := c.Prefix(t)+"e", newPeer(t, c)
	term := p.lead(t, name, "a")
	for i := range 128 {
		put(t, p.Client, fmt.Sprintf("%s/~election/x%d", name, i), "{}")
	}
	all := candidates(t, p.Client, name)
	require.ErrorContains(t, term.Transfer(guarded(t), all[128]), "127 candidates are ahead of it: must be at most 126")
	require.NoError(t, term.Err())
	require.NoError(t, term.Transfer(guarded(t), all[127]))
	require.Equal(t, all[127].Token, current(t, p.Client, name).Token)
	require.Len(t, candidates(t, p.Client, name), 2)
}

func TestTransferHeedsItsContextInAPartition(t *testing.T) {
	t.Parallel()
	k := newContest(t, etcdtest.New(t), 1)
	to := k.candidate(t, 0)
	ctx, cancel := context.WithCancel(guarded(t))
	k.leader.Rec.Hook("Range", func(_ context.Context, _ any, invoke func() error) error {
		k.leader.Net.Cut()
		cancel()
		return invoke()
	})
	require.ErrorIs(t, k.term.Transfer(ctx, to), context.Canceled)
	require.NoError(t, k.term.Err())
	k.leader.Net.Heal()

	// The same, once the transaction is under way.
	k = newContest(t, etcdtest.New(t), 1)
	to = k.candidate(t, 0)
	ctx, cancel = context.WithCancel(guarded(t))
	k.leader.Rec.Hook("Txn", func(ctx context.Context, req any, invoke func() error) error {
		if txn, ok := req.(*pb.TxnRequest); ok && len(txn.Compare) == 2 {
			k.leader.Net.Cut()
			cancel()
		}
		return invoke()
	})
	require.ErrorIs(t, k.term.Transfer(ctx, to), context.Canceled)
	require.ErrorIs(t, k.term.Err(), election.ErrResigned)
	k.leader.Net.Heal()
	resign(t, elected(t, k.done[0]))
}

func TestATransferThatIsRefusedSaysWhy(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	k := newContest(t, c, 2)
	refused := k.leader.Rec.RefuseCalls("Txn", 1, rpctypes.ErrGRPCTooManyOps) // the server's limit is lower than is usual
	err := k.term.Transfer(guarded(t), k.candidate(t, 1))
	require.ErrorIs(t, err, rpctypes.ErrTooManyOps)
	require.NotErrorIs(t, err, election.ErrNotCandidate)
	await(t, refused, "it is refused")
	require.ErrorIs(t, k.term.Err(), election.ErrResigned)
	require.Equal(t, "b", current(t, k.leader.Client, k.name).Value, "the next in line")
}
