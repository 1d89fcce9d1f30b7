package concurrency_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/conclave-go/conclave/concurrency"
	"github.com/conclave-go/conclave/internal/bubble"
	"github.com/conclave-go/conclave/internal/etcdtest"
)

// first has the first request of a kind answered by answer.
func first(rec *etcdtest.Recorder, kind string, answer func(ctx context.Context) error) (stop func()) {
	var once sync.Once
	return rec.Hook(kind, func(ctx context.Context, _ any, invoke func() error) error {
		is := false
		once.Do(func() { is = true })
		if is {
			return answer(ctx)
		}
		return invoke()
	})
}

func TestAMemberThatHasVanishedKeepsNoAdoptedSessionFromItsLocks(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, before := c.Prefix(t)+"m", newMember(t, c)
	before.Orphan()
	after := newMember(t, c, concurrency.WithLease(before.Lease()))
	vanished := func(ctx context.Context) error { return until(ctx, nil) }
	stop := first(after.rec, "Range", vanished)
	mutex := concurrency.NewMutex(after.Session, name)
	require.NoError(t, mutex.Lock(guarded(t)))
	stop()
	key := mutex.Key()
	require.NotNil(t, get(t, c.Client(t), key))
	after.Orphan()
	first(after.rec, "LeaseRevoke", vanished)
	require.NoError(t, after.Close())
	require.Nil(t, get(t, c.Client(t), key))
}

func TestAMemberWithoutALeaderRefusesAndAnotherIsAsked(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, m := c.Prefix(t)+"e", newMember(t, c)
	cutOff := func(ctx context.Context) error {
		md, _ := metadata.FromOutgoingContext(ctx)
		if len(md.Get(rpctypes.MetadataRequireLeaderKey)) == 0 {
			return until(ctx, nil)
		}
		return rpctypes.ErrGRPCNoLeader
	}
	e := concurrency.NewElection(m.Session, name)
	require.NoError(t, e.Campaign(guarded(t), "a"))
	key, rev := e.Key(), e.Rev()
	m.Orphan()

	first(m.rec, "LeaseGrant", cutOff)
	newSession(t, m.client, concurrency.WithTTL(400))
	resumed := concurrency.ResumeElection(newSession(t, m.client, concurrency.WithLease(m.Lease())), name, key, rev)
	stop := first(m.rec, "Txn", cutOff)
	require.NoError(t, resumed.Proclaim(guarded(t), "b"))
	stop()
	require.Equal(t, "b", string(get(t, c.Client(t), key).Value))
	stop = first(m.rec, "Txn", cutOff)
	require.NoError(t, resumed.Resign(guarded(t)))
	stop()
	require.Nil(t, get(t, c.Client(t), key))
	first(m.rec, "LeaseRevoke", cutOff)
	require.NoError(t, m.Close())
}

func TestARequestIsMadeAgainIfTheReasonOfItsFailurePasses(t *testing.T) {
	t.Parallel()
	for _, why := range []error{
		status.Error(codes.Unavailable, "error reading from server: EOF"), rpctypes.ErrGRPCRequestTooManyRequests,
		status.Error(codes.Unknown, "raft proposal dropped"),
	} {
		c := etcdtest.New(t)
		name, m := c.Prefix(t)+"m", newMember(t, c)
		put(t, m.client, name, "v")
		refused := m.rec.RefuseCalls("Txn", 2, why)
		run(t, m.client, func(s concurrency.STM) error {
			require.Equal(t, "v", s.Get(name))
			return nil
		})
		await(t, refused, "two are refused")
		m.Orphan()

		after := newMember(t, c, concurrency.WithLease(m.Lease()))
		refused = after.rec.RefuseCalls("Range", 2, why)
		require.NoError(t, concurrency.NewMutex(after.Session, name).Lock(guarded(t)))
		await(t, refused, "two are refused")
		after.Orphan()
		refused = after.rec.RefuseCalls("LeaseRevoke", 2, why)
		require.NoError(t, after.Close())
		await(t, refused, "two are refused")
	}
}

func TestARequestIsNotMadeAgainIfItIsRefused(t *testing.T) {
	t.Parallel()
	rec := &etcdtest.Recorder{}
	client := etcdtest.New(t).Client(t, etcdtest.WithRecorder(rec))
	rec.RefuseCalls("Txn", 1, rpctypes.ErrGRPCPermissionDenied)
	_, err := concurrency.NewSTM(client, func(s concurrency.STM) error { s.Get("k"); return nil }, concurrency.WithAbortContext(guarded(t)))
	require.ErrorIs(t, err, rpctypes.ErrPermissionDenied)
	require.Equal(t, 1, rec.Count("Txn"))
}

// attempts are those at a request, in virtual time.
type attempts struct {
	began  time.Time
	answer func(attempt int) (answered bool, err error) // for the others there is no answer

	mu     sync.Mutex
	at     []time.Duration // when each was made
	out    int             // how many are out
	most   int             // how many were, at most
	silent []int           // those that were cancelled, in that order
}

// try makes an attempt, whose answer is its number.
func (a *attempts) try(ctx context.Context) (int, error) {
	i := a.begin()
	answered, err := a.answer(i)
	if answered || err != nil {
		a.end()
		return i, err
	}
	<-ctx.Done()
	a.end(i)
	return 0, ctx.Err()
}

func (a *attempts) begin() (number int) {
	synctest.Wait() // whatever makes room has done so
	a.mu.Lock()
	defer a.mu.Unlock()
	a.at = append(a.at, time.Since(a.began))
	a.out++
	a.most = max(a.most, a.out)
	return len(a.at) - 1
}

func (a *attempts) end(silent ...int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.out--
	a.silent = append(a.silent, silent...)
}

// beside makes a request of attempts that are answered as answer says.
func beside(ctx context.Context, t *testing.T, answer func(attempt int) (bool, error)) (*attempts, int, error) {
	t.Helper()
	a := &attempts{began: time.Now(), answer: answer}
	got, err := concurrency.Beside(ctx, clientv3.NewCtxClient(t.Context()), a.try)
	require.Zero(t, a.out, "it has waited for all attempts")
	return a, got, err
}

func TestARequestGoesOutUntilOneReachesAMemberThatAnswers(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		a, got, err := beside(guarded(t), t, func(attempt int) (bool, error) { return attempt == 8, nil })
		require.NoError(t, err)
		require.Equal(t, 8, got)
		const s = time.Second
		require.Equal(t, []time.Duration{0, 1 * s, 2 * s, 3 * s, 4 * s, 6 * s, 10 * s, 18 * s, 26 * s}, a.at)
		require.Equal(t, 4, a.most)
		require.Equal(t, []int{1, 2, 3, 4, 5}, a.silent[:5], "the oldest but the first make room")
		require.ElementsMatch(t, []int{0, 6, 7}, a.silent[5:])
	})
}

func TestARequestIsAnsweredByTheFirstAttemptHoweverLateThatIs(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		a, got, err := beside(guarded(t), t, func(attempt int) (bool, error) {
			if attempt == 0 {
				<-time.After(time.Minute)
			}
			return attempt == 0, nil
		})
		require.NoError(t, err)
		require.Zero(t, got)
		require.Equal(t, time.Minute, time.Since(a.began))
	})
}

func TestARequestThatFailsIsMadeAgainAtOnceThoughManyAreOut(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		a, got, err := beside(guarded(t), t, func(attempt int) (bool, error) {
			if attempt == 6 { // which is made after 10 s
				return false, status.Error(codes.Unavailable, "gone")
			}
			return attempt == 7, nil
		})
		require.NoError(t, err)
		require.Equal(t, 7, got)
		require.Equal(t, 10*time.Second+20*time.Millisecond, time.Since(a.began))
	})
}

func TestARequestEndsWithItsContextHoweverManyAreOut(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		a, _, err := beside(ctx, t, func(int) (bool, error) { return false, nil })
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, time.Minute, time.Since(a.began))
		require.Greater(t, len(a.at), 8)
	})
}
