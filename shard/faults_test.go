package shard_test

import (
	"context"
	"math"
	"slices"
	"strings"
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
	"github.com/conclave-go/conclave/shard"
)

// small makes the plan of twenty shards one of several pieces.
func small() shard.Option { return shard.WithPieceSize(40) }

// puts returns the keys that a transaction puts, nested ones included.
func puts(req any) (keys []string) {
	txn, ok := req.(*pb.TxnRequest)
	if !ok {
		return nil
	}
	for _, op := range append(txn.Success, txn.Failure...) {
		if p := op.GetRequestPut(); p != nil {
			keys = append(keys, string(p.Key))
		} else if nested := op.GetRequestTxn(); nested != nil {
			keys = append(keys, puts(nested)...)
		}
	}
	return keys
}

// transaction returns what a hook was given.
func transaction(req any) *pb.TxnRequest {
	txn, _ := req.(*pb.TxnRequest)
	return txn
}

// onPut calls fn with each transaction that puts a key which ends with the suffix.
func (p *peer) onPut(suffix string, fn etcdtest.UnaryHook) (remove func()) {
	return p.rec.Hook("Txn", func(ctx context.Context, req any, invoke func() error) error {
		for _, key := range puts(req) {
			if strings.HasSuffix(key, suffix) {
				return fn(ctx, req, invoke)
			}
		}
		return invoke()
	})
}

// onPlan calls fn with each transaction that puts a key of the plan.
func (p *peer) onPlan(fn etcdtest.UnaryHook) (remove func()) {
	return p.rec.Hook("Txn", func(ctx context.Context, req any, invoke func() error) error {
		if slices.ContainsFunc(puts(req), func(key string) bool { return strings.HasPrefix(key, group+"/plan/") }) {
			return fn(ctx, req, invoke)
		}
		return invoke()
	})
}

// plan returns the group's plan as Inspect sees it.
func (f *fleet) plan() shard.Status {
	f.t.Helper()
	status, err := shard.Inspect(f.t.Context(), f.server.Client(), group)
	require.NoError(f.t, err)
	return status
}

func TestAPlannerThatDiesBetweenTwoPiecesLeavesTheLastPlan(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		f := newFleet(t, s, 20)
		a := f.join("a", small())
		f.settled() // it is the planner
		b := f.join("b", small())
		before := f.settled()
		last := f.plan()
		pieces := 0
		a.onPut("/1", func(context.Context, any, func() error) error {
			pieces++
			a.cut.Cut()
			return status.Error(codes.Unavailable, "cut off")
		})
		c := f.join("c", small())
		vtime.Advance(time.Second)
		require.Positive(t, pieces, "the first was put, and no other")
		now := f.plan()
		require.NoError(t, now.PlanError)
		require.Equal(t, last.Version, now.Version)
		require.Equal(t, before, f.ledger.owners(20), "nothing moves")
		r, err := shard.NewRouter(t.Context(), s.Client(), group)
		require.NoError(t, err)
		route, _ := r.Owner(0)
		require.Equal(t, before[0], route.Planned, "who comes now reads the last plan")
		require.NoError(t, r.Close(t.Context()))

		vtime.Advance(ttl + time.Second)
		after := f.settled()
		require.Equal(t, map[string]int{"b": 10, "c": 10}, counts(after))
		require.Greater(t, f.plan().Version, last.Version)
		stopAll(b, c)
	})
}

func TestAPlanThatArrivesLateChangesNothing(t *testing.T) {
	t.Parallel()
	for name, suffix := range map[string]string{"a piece": "/0", "the head": "/head"} {
		vtime.Run(t, func(t *testing.T, s *vtime.Server) {
			f := newFleet(t, s, 20)
			a := f.join("a", small())
			f.settled() // it is the planner
			b := f.join("b", small())
			f.settled()
			require.Equal(t, "a", f.plan().Planner)
			release := make(chan struct{})
			var once sync.Once
			var late error
			done := make(chan struct{})
			a.onPut(suffix, func(_ context.Context, req any, invoke func() error) error {
				once.Do(func() {
					go func() { // the request is on its way, though nobody waits for it any more
						defer close(done)
						<-release
						var answer *pb.TxnResponse
						answer, late = pb.NewKVClient(s.Client().ActiveConnection()).Txn(context.Background(), transaction(req))
						if late == nil && answer.Succeeded && !nestedFailed(answer) {
							t.Error("it took effect")
						}
					}()
				})
				return status.Error(codes.Unavailable, "slow")
			})
			c := f.join("c", small())
			vtime.Advance(300 * time.Millisecond)
			lease, err := a.session.Lease(t.Context())
			require.NoError(t, err)
			f.ledger.overrule()
			_, err = s.Client().Revoke(t.Context(), lease.ID())
			require.NoError(t, err)
			vtime.Advance(20 * time.Second)
			before := f.plan()
			require.NotEqual(t, "a", before.Planner, name)
			close(release)
			<-done
			require.NoError(t, late)
			vtime.Advance(time.Second)
			after := f.plan()
			require.NoError(t, after.PlanError, name)
			require.Equal(t, before.Version, after.Version, name)
			require.NotContains(t, f.settled(), "", name)
			stopAll(a, b, c)
		})
	}
}

// nestedFailed reports whether the caller's own conditions did not hold.
func nestedFailed(answer *pb.TxnResponse) bool {
	for _, r := range answer.Responses {
		if nested := r.GetResponseTxn(); nested != nil && !nested.Succeeded {
			return true
		}
	}
	return false
}

func TestARequestOfTheSameTermThatArrivesLateChangesNothing(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		f := newFleet(t, s, 20)
		a := f.join("a", small())
		f.settled()
		var late any
		remove := a.onPut("/0", func(_ context.Context, req any, _ func() error) error {
			late = req
			return status.Error(codes.Unavailable, "slow")
		})
		b := f.join("b", small())
		vtime.Advance(100 * time.Millisecond)
		require.NotNil(t, late)
		remove()
		before := f.settled()
		require.Equal(t, map[string]int{"a": 10, "b": 10}, counts(before))
		answer, err := pb.NewKVClient(s.Client().ActiveConnection()).Txn(t.Context(), transaction(late))
		require.NoError(t, err)
		require.True(t, answer.Succeeded, "it is the same term")
		require.True(t, nestedFailed(answer))
		require.NoError(t, f.plan().PlanError)
		stopAll(a, b)
	})
}

// holdHead has the first attempt to write a head fail, and keeps what was to be sent.
func (p *peer) holdHead(late **pb.TxnRequest) (remove func()) {
	return p.onPut("/head", func(_ context.Context, req any, invoke func() error) error {
		if *late != nil {
			return invoke()
		}
		*late = transaction(req)
		return status.Error(codes.Unavailable, "slow")
	})
}

func TestAHeadThatArrivesLateDoesNotGoWithPiecesOfAnotherAttempt(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		f := newFleet(t, s, 20)
		a := f.join("a", small())
		f.settled()
		var late *pb.TxnRequest
		removeHead := a.holdHead(&late)
		arrived := false
		removePiece := a.onPut("/0", func(_ context.Context, _ any, invoke func() error) error {
			err := invoke()
			if late != nil && !arrived { // the next attempt has replaced the first piece, not yet the last
				arrived = true
				answer, failed := pb.NewKVClient(s.Client().ActiveConnection()).Txn(context.Background(), late)
				if failed != nil || !answer.Succeeded || !nestedFailed(answer) {
					t.Errorf("it took effect: %v", failed)
				}
			}
			return err
		})
		b := f.join("b", small())
		vtime.Advance(100 * time.Millisecond)
		require.NotNil(t, late)
		c := f.join("A", small()) // the first in the plan, so that its pieces are others
		require.Equal(t, map[string]int{"a": 7, "b": 6, "A": 7}, counts(f.settled()))
		require.True(t, arrived)
		require.NoError(t, f.plan().PlanError)
		removeHead()
		removePiece()
		stopAll(a, b, c)
	})
}

func TestAPlanThatIsDeletedIsMadeAgainFromWhatIsOwned(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		f := newFleet(t, s, 20)
		a := f.join("a")
		f.settled()
		b := f.join("b")
		f.settled()
		c := f.join("c")
		before, grants := f.settled(), f.ledger.granted()
		for _, key := range []string{"/plan/", "/plan/head", "/plan/0/0", "/plan/1/0"} {
			_, err := s.Client().Delete(t.Context(), group+key, clientv3.WithPrefix())
			require.NoError(t, err)
			require.Equal(t, before, f.settled(), key)
			require.NoError(t, f.plan().PlanError, key)
		}
		require.Equal(t, grants, f.ledger.granted(), "nothing has moved")
		stopAll(a, b, c)
	})
}

func TestAPieceThatTheHeadDoesNotNameIsNotRead(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		f := newFleet(t, s, 20)
		a := f.join("a")
		before := f.settled()
		require.NoError(t, a.Close(t.Context()))
		for _, slot := range []string{"0", "1"} {
			_, err := s.Client().Put(t.Context(), group+"/plan/"+slot+"/0", `{"members":[{"name":"b","nonce":"x"}],"owners":[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]}`)
			require.NoError(t, err)
		}
		require.ErrorContains(t, f.plan().PlanError, "piece 0 of plan")
		b := f.join("b")
		require.Equal(t, map[string]int{"b": 20}, counts(f.settled()), "the planner makes another")
		require.Equal(t, map[string]int{"a": 20}, counts(before))
		require.NoError(t, f.plan().PlanError)
		require.NoError(t, a.session.Close(t.Context()))
		b.stop()
	})
}

func TestAPlanWhoseReplyIsLostCountsAndIsNotMadeTwice(t *testing.T) {
	t.Parallel()
	for _, suffix := range []string{"/0", "/head"} {
		vtime.Run(t, func(t *testing.T, s *vtime.Server) {
			f := newFleet(t, s, 20)
			a := f.join("a", small())
			f.settled()
			lost := 0
			remove := a.onPut(suffix, func(_ context.Context, _ any, invoke func() error) error {
				if err := invoke(); err != nil || lost > 0 {
					return err
				}
				lost++
				return status.Error(codes.Unavailable, "reply lost")
			})
			b := f.join("b", small())
			require.Equal(t, map[string]int{"a": 10, "b": 10}, counts(f.settled()), suffix)
			require.Equal(t, 1, lost)
			require.NoError(t, f.plan().PlanError)
			remove()
			stopAll(a, b)
		})
	}
}

func TestJoinIsOneMemberAlthoughRepliesAreLost(t *testing.T) {
	t.Parallel()
	for n := range 4 {
		vtime.Run(t, func(t *testing.T, s *vtime.Server) {
			f := newFleet(t, s, 4)
			p := f.process()
			left := n
			remove := p.rec.Hook("Txn", func(_ context.Context, _ any, invoke func() error) error {
				err := invoke()
				if left--; left < 0 || err != nil {
					return err
				}
				return status.Error(codes.Unavailable, "reply lost")
			})
			m, err := shard.Join(t.Context(), p.session, group, "a", f.serve("a"), shard.WithShards(4))
			require.NoError(t, err)
			remove()
			p.Member = m
			require.NoError(t, p.Ready(t.Context()))
			require.Len(t, f.plan().Members, 1)
			p.stop()
			resp, err := s.Client().Get(t.Context(), group+"/member/", clientv3.WithPrefix())
			require.NoError(t, err)
			require.Empty(t, resp.Kvs)
		})
	}
}

func TestAJoinThatIsGivenUpLeavesNoMember(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		f := newFleet(t, s, 4)
		p := f.process()
		ctx, cancel := context.WithCancel(t.Context())
		p.onPut("/a", func(_ context.Context, _ any, invoke func() error) error {
			err := invoke() // it is written, and nobody hears of it
			cancel()
			return err
		})
		_, err := shard.Join(ctx, p.session, group, "a", f.serve("a"))
		require.ErrorIs(t, err, context.Canceled)
		vtime.Advance(3 * time.Second)
		resp, err := s.Client().Get(t.Context(), group+"/member/", clientv3.WithPrefix())
		require.NoError(t, err)
		require.Empty(t, resp.Kvs)
		require.NoError(t, p.session.Close(t.Context()))
	})
}

func TestWhatAnOperatorDeletesIsThereAgain(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		f := newFleet(t, s, 20)
		a, b := f.join("a", small()), f.join("b", small())
		before := f.settled()
		for _, prefix := range []string{"/shard/7/", "/member/b", "/member/a", "/plan/head", "/plan/0/", "/plan/1/", "/plan/", "/~election/", "/"} {
			if prefix == "/" { // all but who is a member, and how many shards there are
				prefix = "/shard/"
			}
			f.ledger.overrule()
			resp, err := s.Client().Delete(t.Context(), group+prefix, clientv3.WithPrefix())
			require.NoError(t, err)
			require.Positive(t, resp.Deleted, prefix)
			vtime.Advance(ttl)
			require.NotContains(t, f.settled(), "", prefix)
			status := f.plan()
			require.NoError(t, status.PlanError, prefix)
			require.Len(t, status.Members, 2)
			for _, m := range status.Members {
				require.Equal(t, []int{10, 10}, []int{m.Planned, m.Owned}, prefix)
			}
		}
		require.Equal(t, map[string]int{"a": 10, "b": 10}, counts(before))
		stopAll(a, b)
	})
}

func TestAMemberWhoseLeaseIsRevokedIsBackWithoutAMoveOfOthers(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		f := newFleet(t, s, 20)
		a, b := f.join("a"), f.join("b", shard.WithReturnGrace(0))
		f.settled()
		lease, err := b.session.Lease(t.Context())
		require.NoError(t, err)
		f.ledger.overrule()
		_, err = s.Client().Revoke(t.Context(), lease.ID())
		require.NoError(t, err)
		vtime.Advance(ttl)
		require.Equal(t, map[string]int{"a": 10, "b": 10}, counts(f.settled()))
		require.NoError(t, b.Err())
		stopAll(a, b)
	})
}

func TestTheContextOfALostShardEndsBeforeAnybodyElseOwnsIt(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		f := newFleet(t, s, 1)
		ended := make(chan error, 1)
		a := f.joinWith("a", func(ctx context.Context, o *shard.Ownership) error {
			f.ledger.begin("a", o)
			<-ctx.Done() // it does not ask for anything else
			ended <- context.Cause(ctx)
			return nil
		})
		b := f.join("b")
		require.Equal(t, []string{"a"}, f.settled())
		a.cut.Cut()
		vtime.Advance(ttl)
		require.Len(t, ended, 1)
		require.ErrorIs(t, <-ended, shard.ErrLost)
		vtime.Advance(ttl)
		require.Equal(t, []string{"b"}, f.ledger.owners(1))
		a.cut.Heal()
		stopAll(a, b)
	})
}

func TestShardsOfWhoIsBackWithinTheGraceDoNotMove(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		f := newFleet(t, s, 20)
		grace := shard.WithReturnGrace(time.Minute)
		a, b := f.join("a", grace), f.join("b", grace)
		before := f.settled()
		b.cut.Cut() // it crashes
		vtime.Advance(ttl + 30*time.Second)
		require.Equal(t, map[string]int{"a": 10, "": 10}, counts(f.ledger.owners(20)))
		require.Equal(t, shard.MemberStatus{MemberInfo: shard.MemberInfo{Name: "b", State: shard.Absent}, Planned: 10}, f.plan().Members[1])
		again := f.join("b", grace)
		require.Equal(t, before, f.settled())

		require.NoError(t, again.session.Close(t.Context())) // it ends without leaving
		vtime.Advance(time.Minute)
		require.Equal(t, map[string]int{"a": 20}, counts(f.settled()), "the grace is over")
		stopAll(a)
	})
}

func TestShardsOfAMemberThatIsCutOffWhileItLeavesAreOwnedAgain(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		f := newFleet(t, s, 20)
		a, b := f.join("a"), f.join("b")
		f.settled()
		cutOff := make(chan struct{})
		go func() {
			defer close(cutOff)
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			_ = b.Drain(ctx) // it may get through
		}()
		vtime.Sleep(55 * time.Millisecond)
		b.cut.Cut()
		vtime.Sleep(ttl + time.Second)
		require.Equal(t, map[string]int{"a": 20}, counts(f.ledger.owners(20)))
		b.cut.Heal()
		<-cutOff
		require.Empty(t, b.Owned())
		stopAll(a, b)
	})
}

func TestCompactionAndARestartOfTheServerAreNotNoticed(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		f := newFleet(t, s, 20)
		a, b := f.join("a"), f.join("b")
		r, err := shard.NewRouter(t.Context(), s.Client(), group)
		require.NoError(t, err)
		before, grants := f.settled(), f.ledger.grants
		b.cut.Hold()
		for range 3 {
			require.NoError(t, shard.Freeze(t.Context(), s.Client(), group))
			require.NoError(t, shard.Thaw(t.Context(), s.Client(), group))
		}
		s.Compact(t.Context())
		vtime.Advance(time.Second)
		b.cut.Heal()
		require.Equal(t, before, f.settled())
		s.Stop()
		vtime.Advance(2 * time.Second)
		s.Start()
		vtime.Advance(time.Second)
		require.Equal(t, before, f.settled())
		require.Equal(t, grants, f.ledger.grants)
		c := f.join("c")
		after := f.settled()
		require.Equal(t, map[string]int{"a": 7, "b": 7, "c": 6}, counts(after))
		route, _ := r.Owner(0)
		require.Equal(t, after[0], route.Member)
		require.NoError(t, r.Close(t.Context()))
		stopAll(a, b, c)
	})
}

func TestNoMoreShardsAreOnTheirWayThanAllowedAndAllArrive(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		f := newFleet(t, s, 40)
		var mu sync.Mutex
		most, moves := 0, 0
		watched := shard.WithObserver(shard.Observer{Planned: func(e shard.PlanEvent) {
			mu.Lock()
			defer mu.Unlock()
			most = max(most, e.UnderWay+e.Moves)
			moves += e.Moves
		}})
		a := f.join("a", shard.WithMoves(3), watched)
		f.settled()
		b := f.join("b", shard.WithMoves(3), watched)
		vtime.Advance(10 * time.Second)
		require.Equal(t, map[string]int{"a": 20, "b": 20}, counts(f.settled()))
		mu.Lock()
		told := []int{most, moves}
		mu.Unlock()
		require.Equal(t, []int{3, 20}, told)
		stopAll(a, b)
	})
}

func TestAMoveThatDoesNotEndKeepsOthersWaitingOnlyForTheDrainTimeAndATTL(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		f := newFleet(t, s, 12)
		a := f.join("a", shard.WithMoves(1))
		f.settled()
		b := f.process()
		var first atomic.Pointer[string]
		b.rec.Hook("Txn", func(_ context.Context, req any, invoke func() error) error {
			for _, key := range puts(req) {
				if name, _, queue := strings.Cut(key, "/~mutex/"); queue {
					first.CompareAndSwap(nil, &name)
					if *first.Load() == name {
						return status.Error(codes.PermissionDenied, "not this one")
					}
				}
			}
			return invoke()
		})
		var err error
		b.Member, err = shard.Join(t.Context(), b.session, group, "b", f.serve("b"), shard.WithMoves(1))
		require.NoError(t, err)
		vtime.Advance(shard.DefaultDrainTimeout + ttl - time.Second)
		require.Equal(t, map[string]int{"a": 12}, counts(f.ledger.owners(12)))
		vtime.Advance(2 * time.Second)
		require.Equal(t, map[string]int{"a": 7, "b": 5}, counts(f.settled()))
		stopAll(a, b)
	})
}

func TestAMoveOfADrainTimeWithoutEndIsNotLate(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		f := newFleet(t, s, 12)
		endless := shard.WithDrainTimeout(math.MaxInt64)
		finish := make(chan struct{})
		a := f.joinWith("a", func(ctx context.Context, o *shard.Ownership) error {
			f.ledger.begin("a", o)
			select {
			case <-o.Leaving():
				<-finish
			case <-ctx.Done():
			}
			return nil
		}, shard.WithMoves(1), endless)
		f.settled()
		b := f.join("b", shard.WithMoves(1), endless)
		vtime.Advance(time.Minute)
		require.Equal(t, map[string]int{"a": 12}, counts(f.ledger.owners(12)))
		require.Equal(t, 1, f.plan().Members[1].Planned, "no more than one is on its way")
		close(finish)
		require.Equal(t, map[string]int{"a": 6, "b": 6}, counts(f.settled()))
		stopAll(a, b)
	})
}

func TestADrainOfManySlowShardsGoesOnAsLongAsTheyGo(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		f := newFleet(t, s, 12)
		moves := shard.WithMoves(1)
		a := f.joinWith("a", func(ctx context.Context, o *shard.Ownership) error {
			f.ledger.begin("a", o)
			select {
			case <-o.Leaving():
				vtime.Sleep(2 * time.Second) // it has much to finish
			case <-ctx.Done():
			}
			return nil
		}, moves, shard.WithDrainTimeout(3*time.Second))
		b := f.join("b", moves)
		require.Equal(t, map[string]int{"a": 6, "b": 6}, counts(f.settled()))
		since, began := revision(t, s.Client()), time.Now()
		require.NoError(t, a.Drain(t.Context()))
		require.Greater(t, time.Since(began), 12*time.Second)
		without, all := gaps(t, s.Client(), since)
		require.Equal(t, []int{0, 6}, []int{without, all}, "gaps in hand-overs")
		stopAll(a, b)
	})
}

func TestAnOwnerLeavesAtOnceIfTheShardIsToBeNobodys(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		f := newFleet(t, s, 2)
		var less atomic.Bool
		a := f.join("a", shard.WithAssigner(shard.AssignFunc(func(in shard.Input) (shard.Plan, error) {
			if less.Load() {
				return shard.Plan{Owners: []string{"a", ""}}, nil
			}
			return shard.Balanced().Assign(in)
		})))
		require.Equal(t, []string{"a", "a"}, f.settled())
		for _, want := range []string{"", "a"} {
			less.Store(want == "")
			require.NoError(t, shard.Freeze(t.Context(), s.Client(), group))
			require.NoError(t, shard.Thaw(t.Context(), s.Client(), group))
			vtime.Advance(time.Second)
			require.Equal(t, []string{"a", want}, f.ledger.owners(2))
		}
		a.stop()
	})
}

func TestAShardIsKeptWhileThePlannedOwnerDoesNotWaitForIt(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		f := newFleet(t, s, 4)
		a := f.join("a")
		f.settled()
		b := f.join("b")
		b.cut.Cut()
		vtime.Sleep(ttl - 2*time.Second)
		require.Equal(t, map[string]int{"a": 4}, counts(f.ledger.owners(4)), "its plan is made, but it does not come")
		require.Equal(t, 2, f.plan().Members[1].Planned)
		b.cut.Heal()
		require.Equal(t, map[string]int{"a": 2, "b": 2}, counts(f.settled()))
		stopAll(a, b)
	})
}

func TestDrainGivesUpAfterItsTimeWhatNobodyWaitsFor(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		f := newFleet(t, s, 4)
		a := f.join("a", shard.WithDrainTimeout(3*time.Second))
		f.settled()
		b := f.join("b")
		b.cut.Cut()
		began := time.Now()
		require.NoError(t, a.Drain(t.Context()))
		require.LessOrEqual(t, time.Since(began), 3*time.Second+100*time.Millisecond)
		require.NoError(t, a.Drain(t.Context()), "again")
		require.ErrorIs(t, a.Ready(t.Context()), shard.ErrClosed)
		b.cut.Heal()
		require.Equal(t, map[string]int{"b": 4}, counts(f.settled()))
		stopAll(a, b)
	})
}

func TestCloseWithAContextThatIsDoneGivesAllBackWithinTheGrace(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		f := newFleet(t, s, 10)
		a, b := f.join("a"), f.join("b")
		f.settled()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		began, since := time.Now(), revision(t, s.Client())
		require.NoError(t, a.Close(ctx))
		require.LessOrEqual(t, time.Since(began), time.Second)
		vtime.Advance(time.Second)
		require.Equal(t, map[string]int{"b": 10}, counts(f.ledger.owners(10)))
		without, _ := gaps(t, s.Client(), since)
		require.Zero(t, without, "it was handed over")
		stopAll(a, b)
	})
}

func TestCloseNamesTheShardsWhoseFunctionDoesNotReturn(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		f := newFleet(t, s, 3)
		stuck := make(chan struct{})
		a := f.joinWith("a", func(ctx context.Context, o *shard.Ownership) error {
			if o.Shard() == 1 {
				<-stuck
			}
			select {
			case <-o.Leaving():
			case <-ctx.Done():
			}
			return nil
		})
		f.settled()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		err := a.Close(ctx)
		require.ErrorContains(t, err, "functions of shards [1] have not returned")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		vtime.Advance(time.Second)
		require.Empty(t, entries(t, s.Client(), 1), "it is free")
		close(stuck)
		require.NoError(t, a.Close(t.Context()))
		require.NoError(t, a.session.Close(t.Context()))
	})
}
