package shard_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/shard"
)

func nothing(context.Context, *shard.Ownership) error { return nil }

func TestJoinRefusesWhatCannotBeMeantAndSaysWhy(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		session, err := lease.NewSession(t.Context(), s.Client())
		require.NoError(t, err)
		for _, c := range []struct {
			group, member string
			opts          []shard.Option
			says          string
		}{
			{"", "a", nil, `group ""`},
			{"jobs/", "a", nil, `must not end with a slash`},
			{"jobs/~x", "a", nil, `reserved`},
			{"jobs", "", nil, `member name of 0 bytes: must be from 1 to 253`},
			{"jobs", strings.Repeat("a", 254), nil, `member name of 254 bytes`},
			{"jobs", "a/b", nil, `member name "a/b": must be valid UTF-8 without control characters and slashes`},
			{"jobs", "a", []shard.Option{shard.WithShards(0)}, `0 shards: must be from 1 to 65536`},
			{"jobs", "a", []shard.Option{shard.WithShards(65537)}, `65537 shards`},
			{"jobs", "a", []shard.Option{shard.WithWeight(-1)}, `weight -1: must be from 0 to 1000000`},
			{"jobs", "a", []shard.Option{shard.WithZone(strings.Repeat("z", 65))}, `zone of 65 bytes: must be valid UTF-8 of at most 64`},
			{"jobs", "a", []shard.Option{shard.WithValue("\xff")}, `value of 1 bytes: must be valid UTF-8`},
			{"jobs", "a", []shard.Option{shard.WithMoves(0)}, `0 moves at once: must be at least 1`},
			{"jobs", "a", []shard.Option{shard.WithReturnGrace(-1)}, `return grace -1ns: must be 0 or more`},
			{"jobs", "a", []shard.Option{shard.WithDrainTimeout(0)}, `drain timeout 0s: must be more than 0`},
			{"jobs", "a", []shard.Option{shard.WithAssigner(nil)}, `assigner is nil`},
			{"jobs", "a", []shard.Option{nil}, `option is nil`},
		} {
			_, err := shard.Join(t.Context(), session, c.group, c.member, nothing, c.opts...)
			require.ErrorContains(t, err, c.says)
			require.ErrorContains(t, err, "shard: ")
		}
		_, err = shard.Join(t.Context(), session, "jobs", "a", nil)
		require.ErrorContains(t, err, "function is nil")
		_, err = shard.Join(t.Context(), nil, "jobs", "a", nothing)
		require.ErrorContains(t, err, "session is nil")
		_, err = shard.Join(nil, session, "jobs", "a", nothing) //nolint:staticcheck // that is what is tested
		require.ErrorContains(t, err, "ctx is nil")
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = shard.Join(ended, session, "jobs", "a", nothing)
		require.ErrorIs(t, err, context.Canceled)
		resp, err := s.Client().Get(t.Context(), "jobs", clientv3.WithPrefix())
		require.NoError(t, err)
		require.Empty(t, resp.Kvs, "nothing is left")
		require.NoError(t, session.Close(t.Context()))
	})
}

func TestMembersMustAgreeOnTheNumberOfShards(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		f := newFleet(t, s, 8)
		a, other := f.join("a"), f.process()
		_, err := shard.Join(t.Context(), other.session, group, "b", f.serve("b"), shard.WithShards(9))
		var wrong *shard.ShardsError
		require.ErrorAs(t, err, &wrong)
		require.Equal(t, shard.ShardsError{Group: group, Want: 9, Have: 8}, *wrong)

		b, err := shard.Join(t.Context(), other.session, group, "b", f.serve("b"))
		require.NoError(t, err, "without a number it takes the group's")
		require.Equal(t, 8, b.Shards())
		require.Equal(t, map[string]int{"a": 4, "b": 4}, counts(f.settled()))

		c, err := shard.Join(t.Context(), other.session, "new", "c", f.serve("c"))
		require.NoError(t, err)
		require.Equal(t, shard.DefaultShards, c.Shards())
		require.NoError(t, c.Close(t.Context()))
		require.NoError(t, b.Close(t.Context()))
		require.NoError(t, other.session.Close(t.Context()))
		a.stop()
	})
}

func TestANameOfALivingMemberIsRefusedAndThatOfADeadOneWaitedFor(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		f := newFleet(t, s, 4)
		a, twin := f.join("a"), f.process()
		var taken *shard.MemberError
		for _, session := range []*lease.Session{twin.session, a.session} {
			ctx, cancel := context.WithTimeout(t.Context(), ttl+time.Second) // renewals tell
			_, err := shard.Join(ctx, session, group, "a", f.serve("twin"))
			cancel()
			require.ErrorAs(t, err, &taken)
			require.Equal(t, "a", taken.Member)
		}
		require.Len(t, a.Owned(), 4, "the group goes on")

		a.cut.Cut()
		began := time.Now()
		again, err := shard.Join(t.Context(), twin.session, group, "a", f.serve("a again"))
		require.NoError(t, err)
		require.LessOrEqual(t, time.Since(began), ttl+time.Second)
		require.NoError(t, again.Ready(t.Context()))
		a.cut.Heal()
		vtime.Advance(ttl)
		require.Error(t, a.Err(), "its name is another's")
		require.Len(t, again.Owned(), 4)

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = shard.Join(ctx, f.process().session, group, "a", f.serve("third"))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NoError(t, again.Close(t.Context()))
		_ = a.Close(t.Context())
	})
}

func TestAFunctionThatFailsPanicsOrReturnsTooEarlyIsCalledAgainAfterAPause(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	for name, fail := range map[string]func() error{
		"fails":   func() error { return boom },
		"panics":  func() error { panic(boom) },
		"returns": func() error { return nil },
		"ends its goroutine": func() error {
			runtime.Goexit()
			return nil
		},
	} {
		vtime.Run(t, func(t *testing.T, s *vtime.Server) {
			f := newFleet(t, s, 1)
			var calls []time.Time
			var outcomes []error
			a := f.joinWith("a", func(ctx context.Context, o *shard.Ownership) error {
				f.ledger.begin("a", o)
				if calls = append(calls, time.Now()); len(calls) < 5 {
					return fail()
				}
				<-ctx.Done()
				return ctx.Err()
			}, shard.WithObserver(shard.Observer{Released: func(e shard.Event) { outcomes = append(outcomes, e.Err) }}))
			vtime.Advance(10 * time.Second)
			require.Len(t, calls, 5, name)
			require.Len(t, outcomes, 4)
			for i, pause := range []int{100, 200, 400, 800} {
				require.Error(t, outcomes[i], name)
				require.EqualValues(t, pause, calls[i+1].Sub(calls[i]).Round(50*time.Millisecond).Milliseconds(), name)
			}
			if name == "panics" {
				var p *shard.PanicError
				require.ErrorAs(t, outcomes[0], &p)
				require.Equal(t, boom, p.Value)
				require.Contains(t, string(p.Stack), "misuse_test.go")
			}
			require.NotContains(t, f.settled(), "", name)
			a.stop()
		})
	}
}

func TestAFunctionThatEndsItsGoroutineWhenToldToLeaveHandsOver(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		f := newFleet(t, s, 4)
		a := f.joinWith("a", func(_ context.Context, o *shard.Ownership) error {
			f.ledger.begin("a", o)
			<-o.Leaving()
			runtime.Goexit()
			return nil
		})
		f.settled()
		b := f.join("b")
		require.Equal(t, map[string]int{"a": 2, "b": 2}, counts(f.settled()))
		stopAll(a, b)
	})
}

func TestAGroupWithAnAssignerThatReturnsNonsenseGoesOn(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		f := newFleet(t, s, 6)
		var told error
		nonsense := shard.AssignFunc(func(shard.Input) (shard.Plan, error) { return shard.Plan{Owners: []string{"nobody"}}, nil })
		a := f.join("a", shard.WithAssigner(nonsense), shard.WithObserver(shard.Observer{Planned: func(e shard.PlanEvent) { told = e.Err }}))
		f.settled()
		b := f.join("b", shard.WithAssigner(nonsense))
		require.Equal(t, []string{"a", "a", "a", "a", "a", "a"}, f.settled(), "all have an owner, and nothing moves")
		require.ErrorContains(t, told, "plan of 1 shards: must be of all 6")
		a.stop()
		require.Equal(t, map[string]int{"b": 6}, counts(f.settled()))
		b.stop()
	})
}

func TestASessionClosedUnderAMemberEndsItWithAnError(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		f := newFleet(t, s, 4)
		a, b := f.join("a"), f.join("b")
		f.settled()
		require.NoError(t, a.session.Close(t.Context()))
		vtime.Advance(time.Second)
		require.Equal(t, map[string]int{"b": 4}, counts(f.ledger.owners(4)))
		require.ErrorIs(t, a.Err(), lease.ErrClosed)
		require.Empty(t, a.Owned())
		require.NoError(t, a.Close(t.Context()))
		b.stop()
	})
}
