package perf_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/compare/perf"
)

// synthetic is a work of two sides or more that takes no time. Conclave's samples are 1
// and those of side i are i + 1. It notes whose turn it was.
type synthetic struct {
	sides  int
	turns  []string
	ended  int
	broken error
}

func (s *synthetic) work() perf.Work {
	return perf.Work{
		Name: "test/synthetic", Title: "nothing", On: perf.None,
		Metrics: []perf.Metric{{Name: "time", Unit: "ms", Stats: []perf.Stat{perf.P50, perf.Mean}}},
		Rounds:  3, Quick: 1,
		Begin: func(context.Context, *perf.Env) ([]perf.Side, func() error, error) {
			var sides []perf.Side
			for i := range s.sides {
				name := fmt.Sprintf("rival %d", i)
				if i == 0 {
					name = perf.Ours
				}
				sides = append(sides, perf.Side{Name: name, Round: func(context.Context) (perf.Samples, error) {
					s.turns = append(s.turns, name)
					return perf.Samples{"time": {float64(i + 1)}}, s.broken
				}})
			}
			return sides, func() error { s.ended++; return nil }, nil
		},
	}
}

func TestSidesTakeTurnsAndNoneIsAlwaysFirst(t *testing.T) {
	t.Parallel()
	s := &synthetic{sides: 3}
	m, err := perf.Runner{}.One(t.Context(), pool(t), s.work())
	require.NoError(t, err)
	require.Equal(t, []string{
		"conclave", "rival 1", "rival 2", // these do not count
		"conclave", "rival 1", "rival 2",
		"rival 1", "rival 2", "conclave",
		"rival 2", "conclave", "rival 1",
	}, s.turns)
	require.Len(t, m.Rounds, 3)
	for _, r := range m.Rounds {
		require.Equal(t, []perf.Samples{{"time": {1}}, {"time": {2}}, {"time": {3}}}, r, "in the order of the sides")
	}
	require.Equal(t, 1, s.ended)
}

func TestWorkThatIsDoneOnceIsDoneOnce(t *testing.T) {
	t.Parallel()
	s := &synthetic{sides: 2}
	m, err := perf.Runner{Quick: true}.One(t.Context(), pool(t), s.work())
	require.NoError(t, err)
	require.Len(t, s.turns, 2)
	require.Len(t, m.Rounds, 1)
}

func TestFiguresAreThoseOfAllSamplesInOrder(t *testing.T) {
	t.Parallel()
	s := &synthetic{sides: 2}
	m, err := perf.Runner{}.One(t.Context(), pool(t), s.work())
	require.NoError(t, err)
	ours := perf.Figure{Work: "test/synthetic", Servers: "none", Metric: "time", Unit: "ms", Stat: "p50", Side: "conclave", Value: 1, Rounds: 3, Samples: 3}
	theirs := ours
	theirs.Side, theirs.Value, theirs.Ratio = "rival 1", 2, perf.Ratio{Mid: 2, Low: 2, High: 2}
	all := m.Figures()
	require.Equal(t, []perf.Figure{ours, theirs}, all[:2])
	require.Equal(t, "mean", all[2].Stat)
	require.True(t, perf.Leading(all, 1))
	require.False(t, perf.Leading(all, 2))
}

func TestAWorkThatFailsIsEndedAndSaysWhoFailed(t *testing.T) {
	t.Parallel()
	s := &synthetic{sides: 2, broken: errors.New("broken on purpose")}
	_, err := perf.Runner{}.One(t.Context(), pool(t), s.work())
	require.EqualError(t, err, "test/synthetic on none: conclave: broken on purpose")
	require.Equal(t, 1, s.ended)
}

func TestAWorkThatCannotBeginIsEnded(t *testing.T) {
	t.Parallel()
	s := &synthetic{sides: 2}
	w := s.work()
	begin := w.Begin
	w.Begin = func(ctx context.Context, on *perf.Env) ([]perf.Side, func() error, error) {
		sides, end, _ := begin(ctx, on)
		return sides, end, errors.New("cannot begin")
	}
	_, err := perf.Runner{}.One(t.Context(), pool(t), w)
	require.EqualError(t, err, "test/synthetic on none: beginning: cannot begin")
	require.Equal(t, 1, s.ended)
	require.Empty(t, s.turns)
}

func TestWorkHasToKeepToWhatItDeclares(t *testing.T) {
	t.Parallel()
	measure := func(change func(*perf.Work, []perf.Side) []perf.Side) error {
		w := (&synthetic{sides: 2}).work()
		begin := w.Begin
		w.Begin = func(ctx context.Context, on *perf.Env) ([]perf.Side, func() error, error) {
			sides, end, err := begin(ctx, on)
			return change(&w, sides), end, err
		}
		change(&w, nil)
		_, err := perf.Runner{}.One(t.Context(), pool(t), w)
		return err
	}
	require.ErrorContains(t, measure(func(w *perf.Work, s []perf.Side) []perf.Side {
		w.Metrics = append(w.Metrics[:1:1], perf.Metric{Name: "other"})
		return s
	}), `no samples of "other"`)
	require.ErrorContains(t, measure(func(w *perf.Work, s []perf.Side) []perf.Side {
		w.Metrics = nil
		return s
	}), "samples of 1 metrics: 0 are declared")
	require.ErrorContains(t, measure(func(_ *perf.Work, s []perf.Side) []perf.Side { return s[min(1, len(s)):] }), `the first side is not "conclave"`)
	require.ErrorContains(t, measure(func(_ *perf.Work, s []perf.Side) []perf.Side { return append(s, s[min(1, len(s)):]...) }), `side "rival 1": want names`)
	require.ErrorContains(t, measure(func(w *perf.Work, s []perf.Side) []perf.Side { w.Rounds = 0; return s }), "0 rounds: want at least 1")
}

func TestRealWorkOnARealServer(t *testing.T) {
	t.Parallel()
	w := perf.Work{
		Name: "test/put", On: perf.EtcdFast, Rounds: 2,
		Metrics: []perf.Metric{{Name: "revisions", Unit: "revisions", Stats: []perf.Stat{perf.Mean}}},
		Begin: func(ctx context.Context, on *perf.Env) ([]perf.Side, func() error, error) {
			side := func(name string, puts int) (perf.Side, error) {
				c, err := on.Client(ctx)
				return perf.Side{Name: name, Round: func(ctx context.Context) (perf.Samples, error) {
					var revisions []int64
					for i := range puts {
						resp, err := c.Put(ctx, fmt.Sprintf("%s/%d", name, i), "")
						if err != nil {
							return nil, err
						}
						revisions = append(revisions, resp.Header.Revision)
					}
					return perf.Samples{"revisions": {float64(1 + revisions[puts-1] - revisions[0])}}, nil
				}}, err
			}
			ours, err := side("conclave", 2)
			theirs, errTheirs := side("raw", 5)
			return []perf.Side{ours, theirs}, nil, errors.Join(err, errTheirs)
		},
	}
	ctx, p := guarded(t), pool(t)
	m, err := perf.Runner{}.One(ctx, p, w)
	require.NoError(t, err)
	require.Equal(t, perf.Ratio{Mid: 2.5, Low: 2.5, High: 2.5}, m.Figures()[1].Ratio)
	once, err := perf.Once(ctx, p, w)
	require.NoError(t, err)
	require.Equal(t, map[string]perf.Samples{"conclave": {"revisions": {2}}, "raw": {"revisions": {5}}}, once)
}
