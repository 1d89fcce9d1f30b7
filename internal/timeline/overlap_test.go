package timeline_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/timeline"
)

func lanes(bars ...[]timeline.Bar) []timeline.Lane {
	all := make([]timeline.Lane, len(bars))
	for i, b := range bars {
		all[i] = timeline.Lane{Name: fmt.Sprintf("w%d", i+1), Bars: b}
	}
	return all
}

func TestOverlapsAreBetweenHoldersBeforeTheirDeadlines(t *testing.T) {
	t.Parallel()
	type bars = []timeline.Bar
	both := []string{"w1", "w2"}
	for name, c := range map[string]struct {
		lanes []timeline.Lane
		want  []timeline.Overlap
	}{
		"nobody":             {nil, nil},
		"one":                {lanes(bars{{From: 1, To: 5}}), nil},
		"one after another":  {lanes(bars{{From: 1, To: 5}}, bars{{From: 5, To: 9}}), nil},
		"two":                {lanes(bars{{From: 1, To: 5}}, bars{{From: 4, To: 9}}), []timeline.Overlap{{From: 4, To: 5, Lanes: both}}},
		"one in another":     {lanes(bars{{From: 1, To: 9}}, bars{{From: 4, To: 5}}), []timeline.Overlap{{From: 4, To: 5, Lanes: both}}},
		"after the deadline": {lanes(bars{{From: 1, To: 9, Deadline: 4}}, bars{{From: 4, To: 9}}), nil},
		"before it":          {lanes(bars{{From: 1, To: 9, Deadline: 5}}, bars{{From: 4, To: 9}}), []timeline.Overlap{{From: 4, To: 5, Lanes: both}}},
		"ended before it":    {lanes(bars{{From: 1, To: 3, Deadline: 9}}, bars{{From: 4, To: 9}}), nil},
		"never ended":        {lanes(bars{{From: 1}}, bars{{From: 4, To: 6}, {From: 8}}), []timeline.Overlap{{From: 4, To: 6, Lanes: both}, {From: 8, To: 10, Lanes: both}}},
		"waits and sections": {lanes(bars{{From: 1, To: 9}}, bars{{From: 2, To: 9, Class: timeline.Wait}, {From: 2, To: 9, Class: timeline.Section}, {From: 1, To: 9, Class: timeline.Other}}), nil},
		"readers":            {lanes(bars{{From: 1, To: 5, Class: timeline.Shared}}, bars{{From: 2, To: 6, Class: timeline.Shared}}), nil},
		"reader and writer":  {lanes(bars{{From: 1, To: 5, Class: timeline.Shared}}, bars{{From: 2, To: 6}}), []timeline.Overlap{{From: 2, To: 5, Lanes: both}}},
		"twice in a lane":    {lanes(bars{{From: 1, To: 5}, {From: 3, To: 7}}), []timeline.Overlap{{From: 3, To: 5, Lanes: []string{"w1"}}}},
		"three in one go": {
			lanes(bars{{From: 1, To: 5}}, bars{{From: 4, To: 8}}, bars{{From: 4, To: 9}}),
			[]timeline.Overlap{{From: 4, To: 8, Lanes: []string{"w1", "w2", "w3"}}},
		},
		"other locks": {[]timeline.Lane{{Name: "w1", Group: "a", Bars: bars{{From: 1, To: 5}}}, {Name: "w2", Group: "b", Bars: bars{{From: 1, To: 5}}}}, nil},
	} {
		require.Equal(t, c.want, timeline.Overlaps(c.lanes, 10), name)
	}
}

// At each moment, the holders are counted one by one.
func TestOverlapsCoverExactlyTheMomentsWithSeveralHolders(t *testing.T) {
	t.Parallel()
	const end = 60
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 0))
		all := make([]timeline.Lane, 3)
		for i := range all {
			all[i].Name = fmt.Sprint(i)
			for range r.IntN(4) {
				from := time.Duration(r.IntN(end))
				all[i].Bars = append(all[i].Bars, timeline.Bar{
					From: from, To: from + time.Duration(r.IntN(9)), Deadline: time.Duration(r.IntN(2) * r.IntN(end)),
					Class: []timeline.BarClass{timeline.Hold, timeline.Shared}[r.IntN(2)],
				})
			}
		}
		found := timeline.Overlaps(all, end)
		for at := range time.Duration(end) {
			require.Equal(t, broken(all, at, end), covered(found, at), "seed %d, at %d: %v\n%v", seed, at, all, found)
		}
	}
}

// broken counts who holds from a moment to the next.
func broken(all []timeline.Lane, at, end time.Duration) bool {
	count, exclusive := 0, 0
	for _, l := range all {
		for _, b := range l.Bars {
			to := b.To
			if to == 0 {
				to = end
			}
			if b.Deadline != 0 {
				to = min(to, b.Deadline)
			}
			if b.From <= at && at < to {
				count++
				if b.Class == timeline.Hold {
					exclusive++
				}
			}
		}
	}
	return count > 1 && exclusive > 0
}

func covered(found []timeline.Overlap, at time.Duration) bool {
	for _, o := range found {
		if o.From <= at && at < o.To {
			return true
		}
	}
	return false
}
