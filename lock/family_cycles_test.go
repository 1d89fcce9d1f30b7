package lock_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/suite"
)

func TestCyclesOfAnyKindLeaveCostAndKeysWhereTheyWere(t *testing.T) {
	t.Parallel()
	for name, how := range map[string]how{
		"readers": reading, "writers": writing, "permits": permits(2, 3), "multi": together("a", "b"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := etcdtest.New(t, etcdtest.WithControl())
			p, ctx := newPeer(t, c, withTTL(calm)), t.Context()
			used := make(map[string]bool)
			limit, most := cycles()
			before, start, n := revision(t, p.Client), time.Now(), 0
			p.Rec.Reset()
			for ; n < most && time.Since(start) < limit/2; n++ {
				h, err := how(ctx, p, "m")
				require.NoError(t, err)
				used[h.Key()] = true
				require.NoError(t, h.Unlock(ctx))
				if n%100 == 99 { // and keep the recorder small
					require.Equal(t, tally{writes: 200}, sent(p.Rec))
					p.Rec.Reset()
				}
			}
			t.Logf("%d cycles", n)
			require.Equal(t, tally{writes: 2 * (n % 100)}, sent(p.Rec))
			require.Len(t, used, 1)
			require.Equal(t, before+int64(2*n), revision(t, p.Client))
			require.Zero(t, keysNow(t, p.Client, "m/"))
		})
	}
}

func TestContendedAndCancelledCyclesOfAnyKindUseTheSameFewKeys(t *testing.T) {
	t.Parallel()
	eachContest(t, []contest{
		{"writers", writing, nil, writing, false},
		{"permits", permits(2, 3), nil, permits(2, 3), false},
		{"multi", together("a"), nil, together("a"), false},
	}, func(t *testing.T, k contest) {
		t.Helper()
		c := etcdtest.New(t, etcdtest.WithControl())
		p, q := newPeer(t, c, withTTL(calm)), newPeer(t, c, withTTL(calm))
		h := p.take(t, k.first, "m")
		for range suite.Long(10, 25) {
			ctx, cancel := context.WithCancel(guarded(t))
			cancelled, _ := q.queueUpTo(ctx, t, k.next, "m")
			done, _ := q.queueUpTo(guarded(t), t, k.next, "m")
			cancel()
			require.ErrorIs(t, await(t, cancelled, "it returns").err, context.Canceled)
			unlock(t, h)
			h = granted(t, done)
			p, q = q, p
		}
		unlock(t, h)
		// Each peer needs two of each name, and perhaps a third, while one that was given
		// up is on its way out.
		require.LessOrEqual(t, keysEver(t, p.Client, "m/~"), 2*4)
	})
}
