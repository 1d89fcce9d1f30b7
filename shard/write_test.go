package shard_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/shard"
)

// plansPut returns how often each key of the plan was put since a revision, by the store's
// history.
func plansPut(t *testing.T, client *clientv3.Client, since int64) map[string]int {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	head := revision(t, client)
	put := make(map[string]int)
	for resp := range client.Watch(ctx, group+"/plan/", clientv3.WithPrefix(), clientv3.WithRev(since+1), clientv3.WithProgressNotify()) {
		for _, ev := range resp.Events {
			put[string(ev.Kv.Key)]++
		}
		require.NoError(t, client.RequestProgress(ctx))
		if resp.Header.Revision >= head {
			break
		}
	}
	return put
}

// A write that goes to a member which has vanished has no answer, and a slow one takes its time.
func TestALargePlanIsWrittenHoweverSlowItsPiecesAreAndEachOnce(t *testing.T) {
	t.Parallel()
	attempts := 0
	for name, hook := range map[string]etcdtest.UnaryHook{
		"each takes half a second": func(_ context.Context, _ any, invoke func() error) error {
			vtime.Sleep(500 * time.Millisecond)
			return invoke()
		},
		"every third vanishes": func(ctx context.Context, _ any, invoke func() error) error {
			if attempts++; attempts%3 == 0 {
				<-ctx.Done()
				return status.FromContextError(ctx.Err()).Err()
			}
			return invoke()
		},
		"the answer to every third vanishes": func(ctx context.Context, _ any, invoke func() error) error {
			err := invoke()
			if attempts++; attempts%3 == 0 {
				<-ctx.Done()
				return status.FromContextError(ctx.Err()).Err()
			}
			return err
		},
	} {
		vtime.Run(t, func(t *testing.T, s *vtime.Server) {
			f := newFleet(t, s, 200)
			pieces := shard.WithPieceSize(40)
			a := f.join("a", pieces)
			f.settled() // it is the planner
			since, began := revision(t, s.Client()), time.Now()
			attempts = 0
			remove := a.onPlan(hook)
			b := f.process()
			var err error
			b.Member, err = shard.Join(t.Context(), b.session, group, "b", f.serve("b"), shard.WithShards(200), pieces)
			require.NoError(t, err)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			require.NoError(t, b.Ready(ctx), name)
			put := plansPut(t, s.Client(), since)
			require.Greater(t, len(put), 8, name)
			for key, times := range put {
				require.Equal(t, 1, times, "%s: %s", name, key)
			}
			t.Logf("%s: %d keys in %v", name, len(put), time.Since(began).Round(time.Millisecond))
			remove()
			stopAll(a, b)
		})
	}
}

func TestWhatIsAsItIsToBeIsNotWritten(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		f := newFleet(t, s, 200)
		a := f.join("a", shard.WithPieceSize(40))
		f.settled()
		whole := plansPut(t, s.Client(), 0)
		since := revision(t, s.Client())
		require.NoError(t, shard.Cordon(t.Context(), s.Client(), group, "a"))
		_, err := s.Client().Delete(t.Context(), group+"/plan/head")
		require.NoError(t, err)
		require.Equal(t, map[string]int{"a": 200}, counts(f.settled()))
		require.NoError(t, f.plan().PlanError)
		last := fmt.Sprintf("%s/plan/0/%d", group, len(whole)-2)
		put := plansPut(t, s.Client(), since)
		require.Equal(t, map[string]int{group + "/plan/head": 2, last: 1}, put, "deleted, and written with the last piece")
		a.stop()
	})
}

// lines counts what is logged with a message.
type lines struct {
	slog.Handler

	mu   sync.Mutex
	seen map[string]int
}

func newLines() *lines { return &lines{Handler: slog.DiscardHandler, seen: make(map[string]int)} }

func (l *lines) Enabled(context.Context, slog.Level) bool { return true }
func (l *lines) WithAttrs([]slog.Attr) slog.Handler       { return l }

func (l *lines) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen[r.Message]++
	return nil
}

func (l *lines) count(message string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seen[message]
}

func TestAPlanThatIsRefusedIsTriedLessAndLessOftenAndLoggedRarely(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		f := newFleet(t, s, 20)
		log := newLines()
		a := f.process(lease.WithLogger(slog.New(log)))
		var failed atomic.Int64
		var err error
		a.Member, err = shard.Join(t.Context(), a.session, group, "a", f.serve("a"), shard.WithShards(20), shard.WithObserver(shard.Observer{
			Planned: func(e shard.PlanEvent) {
				if e.Err != nil {
					failed.Add(1)
				}
			},
		}))
		require.NoError(t, err)
		f.settled()
		tries := 0
		remove := a.onPlan(func(context.Context, any, func() error) error {
			tries++
			return status.Error(codes.ResourceExhausted, "etcdserver: mvcc: database space exceeded")
		})
		b := f.join("b")
		vtime.Advance(5*time.Minute - 10*time.Second)
		require.InDelta(t, 5*60/5+5, tries, 6)
		require.InDelta(t, tries, failed.Load(), 6)
		require.Equal(t, 5, log.count("shard: plan not written; trying again"), "once a minute")
		// What else happens does not have it tried more often.
		before := tries
		for range 20 {
			require.NoError(t, shard.Freeze(t.Context(), s.Client(), group))
			require.NoError(t, shard.Thaw(t.Context(), s.Client(), group))
			vtime.Advance(200 * time.Millisecond)
		}
		require.LessOrEqual(t, tries-before, 1)
		remove()
		vtime.Advance(5 * time.Second)
		require.Equal(t, map[string]int{"a": 10, "b": 10}, counts(f.settled()))
		stopAll(a, b)
	})
}

// The next attempt keeps the first pieces, so they are as the late head names them.
func TestALateHeadOfTheTermBringsItsOwnPlanAsAWhole(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		f := newFleet(t, s, 20)
		a := f.join("a", small())
		f.settled()
		var late *pb.TxnRequest
		removeHead := a.holdHead(&late)
		b := f.join("b", small())
		vtime.Advance(100 * time.Millisecond)
		require.NotNil(t, late)
		removeHead()
		var brought *shard.Status
		remove := a.onPlan(func(_ context.Context, req any, invoke func() error) error {
			if brought != nil {
				return invoke()
			}
			if slices.Contains(puts(req), group+"/plan/1/0") {
				t.Error("the first piece is as it is to be")
			}
			answer, err := pb.NewKVClient(s.Client().ActiveConnection()).Txn(context.Background(), late)
			if err != nil || !answer.Succeeded || nestedFailed(answer) {
				t.Errorf("its pieces are as they were: %v", err)
			}
			now := f.plan()
			brought = &now
			return invoke()
		})
		c := f.join("c", small())
		require.Equal(t, map[string]int{"a": 7, "b": 7, "c": 6}, counts(f.settled()))
		require.NoError(t, brought.PlanError)
		require.Equal(t, []int64{2, 3}, []int64{brought.Version, f.plan().Version})
		require.NoError(t, f.plan().PlanError)
		remove()
		stopAll(a, b, c)
	})
}
