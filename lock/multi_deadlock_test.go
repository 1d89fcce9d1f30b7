package lock_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/suite"
	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lock"
)

// someOf returns some of the names, at least two, in random order.
func someOf(random *rand.Rand, names []string) []string {
	some := make([]string, 0, len(names))
	for _, i := range random.Perm(len(names))[:2+random.IntN(len(names)-2)] {
		some = append(some, names[i])
	}
	return some
}

// grab takes all of the names and returns how to release them.
type grab func(ctx context.Context, p *peer, names []string) (release func(context.Context) error, err error)

func grabTogether(ctx context.Context, p *peer, names []string) (func(context.Context) error, error) {
	m, err := lock.NewMulti(p.Session, names)
	if err != nil {
		return nil, err
	}
	h, err := m.Lock(ctx)
	if err != nil {
		return nil, err
	}
	return h.Unlock, nil
}

func grabOneByOne(ctx context.Context, p *peer, names []string) (func(context.Context) error, error) {
	var holds []*lock.Hold
	release := func(ctx context.Context) error {
		var errs []error
		for _, h := range holds {
			errs = append(errs, h.Unlock(ctx))
		}
		return errors.Join(errs...)
	}
	for _, name := range names {
		h, err := exclusively(ctx, p, name)
		if err != nil {
			return nil, errors.Join(err, release(context.WithoutCancel(ctx)))
		}
		holds = append(holds, h)
	}
	return release, nil
}

// occupied are names that know whether two have them.
type occupied struct {
	t  *testing.T
	by [6]atomic.Int64
}

func (o *occupied) visit(names, of []string) {
	for i, name := range of {
		for _, taken := range names {
			if taken == name && o.by[i].Add(1) > 1 {
				o.t.Errorf("two hold %q", name)
			}
		}
	}
	for i, name := range of {
		for _, taken := range names {
			if taken == name {
				o.by[i].Add(-1)
			}
		}
	}
}

func TestOverlappingMultisNeverDeadlock(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	peers, names := newPeers(t, c, 4, withTTL(calm)), manyNames(c.Prefix(t), 6)
	o := &occupied{t: t}
	var wg sync.WaitGroup
	for i := range 12 {
		random := rand.New(rand.NewPCG(uint64(i), 1))
		wg.Go(func() {
			for range suite.Long(6, 20) {
				some := someOf(random, names)
				release, err := grabTogether(guarded(t), peers[i%len(peers)], some)
				if err != nil {
					t.Error(err)
					return
				}
				o.visit(some, names)
				if err := release(guarded(t)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	for _, name := range names {
		require.Empty(t, queueOf(t, peers[0].Client, name))
	}
}

// contestOver lets callers take random sets of names, and reports
// whether all of them came to their end within an hour of virtual time.
func contestOver(t *testing.T, take grab) (finished bool) {
	t.Helper()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		names := manyNames("", 6)
		var wg sync.WaitGroup
		for i := range 6 {
			p := newVirtualPeer(t, s.Client(vtime.WithDrag(vtime.NewDrag(uint64(i), mostDrag))), time.Minute)
			random := rand.New(rand.NewPCG(uint64(i), 1))
			wg.Go(func() {
				for ctx.Err() == nil && random.IntN(20) > 0 {
					release, err := take(ctx, p, someOf(random, names))
					if err != nil {
						return
					}
					vtime.Sleep(mostDrag)
					if err := release(t.Context()); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		finished = ctx.Err() == nil
	})
	return finished
}

func TestTakingTheSameLocksOneByOneDeadlocksWhereMultiDoesNot(t *testing.T) {
	t.Parallel()
	require.True(t, contestOver(t, grabTogether))
	require.False(t, contestOver(t, grabOneByOne), "nobody has moved for an hour")
}
