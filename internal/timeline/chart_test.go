package timeline_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/timeline"
)

// drawn returns the elements of a page with one chart.
func drawn(t *testing.T, c timeline.Chart) []element {
	t.Helper()
	return parse(t, write(t, timeline.Page{Charts: []timeline.Chart{c}}))
}

// tips returns the tooltips of the shapes of a class on the chart.
func tips(all []element, name, class string) []string {
	var found []string
	for i, e := range all[:len(all)-1] {
		if e.is(name, class) && all[i+1].name == "title" {
			found = append(found, all[i+1].text)
		}
	}
	return found
}

// place returns from where to where the shapes of a class reach, in percent.
func places(t *testing.T, all []element, class string) [][2]float64 {
	t.Helper()
	var found [][2]float64
	for _, e := range all {
		if e.is("rect", class) && e.attr["x"] != "" {
			x, err := strconv.ParseFloat(strings.TrimSuffix(e.attr["x"], "%"), 64)
			require.NoError(t, err)
			w, err := strconv.ParseFloat(strings.TrimSuffix(e.attr["width"], "%"), 64)
			require.NoError(t, err)
			found = append(found, [2]float64{x, x + w})
		}
	}
	return found
}

func TestBarsStandWhereTheyHappened(t *testing.T) {
	t.Parallel()
	all := drawn(t, timeline.Chart{Length: 100 * ms, Lanes: lanes([]timeline.Bar{{From: 50 * ms, To: 75 * ms, Label: "7"}, {From: 0, To: 25 * ms}})})
	got := places(t, all, "hold")
	require.Len(t, got, 2)
	assert.InDelta(t, 0.4, got[0][0], 0.01)
	assert.InDelta(t, 0.4+98*.25, got[0][1], 0.01)
	assert.InDelta(t, 0.4+98*.5, got[1][0], 0.01)
	assert.InDelta(t, 0.4+98*.75, got[1][1], 0.01)
	assert.Equal(t, []string{"w1: holds, 0.00 ms to 25.00 ms (25.0 ms)", "w1: holds 7, 50.00 ms to 75.00 ms (25.0 ms)"}, tips(all, "rect", "hold"))
	assert.Contains(t, texts(all, "text", "hold"), "7")
}

func TestABarThatNeverEndsReachesTheEndAndSaysSo(t *testing.T) {
	t.Parallel()
	all := drawn(t, timeline.Chart{Length: 100 * ms, Lanes: lanes([]timeline.Bar{{From: 50 * ms}})})
	got := places(t, all, "hold")
	require.Len(t, got, 1)
	assert.InDelta(t, 0.4+98, got[0][1], 0.01)
	assert.Equal(t, []string{"w1: holds, from 50.00 ms to the end"}, tips(all, "rect", "hold"))
	assert.Equal(t, 1, count(all, "use", "open"))
}

func TestDeadlinesAreDrawnWhereTheyMatter(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		bars              []timeline.Bar
		lines, tail, late int
	}{
		"unknown":              {[]timeline.Bar{{From: 0, To: 20 * ms}}, 0, 0, 0},
		"passed":               {[]timeline.Bar{{From: 0, To: 20 * ms, Deadline: 10 * ms}}, 1, 0, 1},
		"passed, never ended":  {[]timeline.Bar{{From: 0, Deadline: 10 * ms}}, 1, 0, 1},
		"died before":          {[]timeline.Bar{{From: 0, To: 10 * ms, Deadline: 20 * ms}}, 1, 1, 0},
		"died, beyond the end": {[]timeline.Bar{{From: 0, To: 10 * ms, Deadline: 500 * ms}}, 0, 1, 0},
		"died, came back":      {[]timeline.Bar{{From: 0, To: 10 * ms, Deadline: 20 * ms}, {From: 15 * ms, To: 18 * ms}}, 0, 1, 0},
		"released":             {[]timeline.Bar{{From: 0, To: 10 * ms, Deadline: 20 * ms, Released: true}}, 0, 0, 0},
		"still held":           {[]timeline.Bar{{From: 0, Deadline: 150 * ms}}, 0, 0, 0},
	} {
		all := drawn(t, timeline.Chart{Length: 100 * ms, Lanes: lanes(c.bars)})
		assert.Len(t, tips(all, "line", "deadline"), c.lines, name)
		assert.Len(t, places(t, all, "tail"), c.tail, name)
		assert.Len(t, places(t, all, "late"), c.late, name)
	}
}

func TestOverlapsAreDrawnInRedOnWhomTheyConcern(t *testing.T) {
	t.Parallel()
	c := timeline.Chart{Length: 100 * ms, Lanes: lanes(
		[]timeline.Bar{{From: 0, To: 60 * ms, Label: "1"}},
		[]timeline.Bar{{From: 40 * ms, To: 80 * ms, Label: "2"}},
		[]timeline.Bar{{From: 90 * ms, To: 95 * ms, Label: "3"}},
	)}
	all := drawn(t, c)
	got := places(t, all, "overlap")
	require.Len(t, got, 3, "above the lanes, and in two of them")
	for _, g := range got {
		assert.InDelta(t, 0.4+98*.4, g[0], 0.01)
		assert.InDelta(t, 0.4+98*.6, g[1], 0.01)
	}
	assert.Equal(t, "2 held at once: w1, w2, 40.00 ms to 60.00 ms (20.0 ms)", tips(all, "rect", "overlap")[0])
	assert.Equal(t, []string{"More than one held at once, before their deadlines: 1 time, 20.0 ms in all."}, texts(all, "p", "judged"))

	c.Overlaps = []timeline.Overlap{}
	all = drawn(t, c)
	assert.Empty(t, places(t, all, "overlap"), "none are given, so none are computed")
	assert.Equal(t, []string{"No two holders overlapped before their deadlines."}, texts(all, "p", "judged"))
}

func TestNothingIsSaidOfHoldsWhereThereAreNone(t *testing.T) {
	t.Parallel()
	all := drawn(t, timeline.Chart{Lanes: lanes([]timeline.Bar{{From: 0, To: 5, Class: timeline.Wait}})})
	assert.Zero(t, count(all, "p", "judged"))
}

func TestBandsCoverTheirLaneOrAll(t *testing.T) {
	t.Parallel()
	c := timeline.Chart{Length: 100, Lanes: lanes(nil, nil, nil), Bands: []timeline.Band{{From: 10, To: 20, Label: "stopped", Lane: "w2"}, {From: 50, Label: "no leader"}}}
	all := drawn(t, c)
	assert.Equal(t, []string{"all lanes: no leader, from 0.05 µs to the end", "w2: stopped, 0.01 µs to 0.02 µs (0.01 µs)"}, tips(all, "rect", "band"))
	var heights []int
	for _, e := range all {
		if e.is("rect", "band") && e.attr["x"] != "" {
			h, err := strconv.Atoi(e.attr["height"])
			require.NoError(t, err)
			heights = append(heights, h)
		}
	}
	require.Len(t, heights, 2)
	assert.Greater(t, heights[0], 3*heights[1]/2)
	assert.Subset(t, texts(all, "text", "caption"), []string{"stopped", "no leader"})
}

func TestABandOfALaneThatThereIsNotAddsIt(t *testing.T) {
	t.Parallel()
	all := drawn(t, timeline.Chart{Length: time.Second, Lanes: lanes(nil), Bands: []timeline.Band{{From: ms, To: 9 * ms, Label: "down", Lane: "m1"}, {From: 20 * ms, Label: "down", Lane: "m1"}}})
	assert.Len(t, tips(all, "rect", "band"), 2)
	assert.Equal(t, []string{"time", "w1", "m1"}, texts(all, "b", ""))
}

// crowd returns n holds of a lane of a millisecond each, and as long apart.
func crowd(n int) []timeline.Bar {
	var bars []timeline.Bar
	for i := range n {
		from := time.Duration(2*i) * ms
		bars = append(bars, timeline.Bar{From: from, To: from + ms, Label: fmt.Sprint(i), Released: true})
	}
	return bars
}

func TestThousandsOfBarsMakeASmallPageThatSaysSo(t *testing.T) {
	t.Parallel()
	c := timeline.Chart{}
	for i := range 4 {
		c.Lanes = append(c.Lanes, timeline.Lane{Name: fmt.Sprint(i), Bars: crowd(8000)})
		for j := range 2000 {
			c.Lanes[i].Marks = append(c.Lanes[i].Marks, timeline.Mark{At: time.Duration(j) * ms, Label: "told", Class: timeline.Told})
		}
	}
	page := write(t, timeline.Page{Charts: []timeline.Chart{c}})
	assert.Less(t, len(page), 1<<20)
	all := parse(t, page)
	shapes := count(all, "rect", "hold") + count(all, "use", "told")
	assert.Greater(t, shapes, 8)
	assert.LessOrEqual(t, shapes, 2010)
	assert.Regexp(t, `32000 bars that are too short to be told apart are drawn as \d+`, texts(all, "p", "thinned")[0])
	counted := 0
	for _, tip := range tips(all, "rect", "many") {
		for part := range strings.SplitSeq(tip, ", ") {
			if n, ok := strings.CutSuffix(part, " times"); ok {
				times, err := strconv.Atoi(n)
				require.NoError(t, err)
				counted += times
			}
		}
	}
	assert.Equal(t, 32000, counted, "no bar is lost")
}

func TestWhatCanBeToldApartIsDrawnOneByOne(t *testing.T) {
	t.Parallel()
	all := drawn(t, timeline.Chart{Lanes: lanes(crowd(500))})
	assert.Len(t, places(t, all, "hold"), 500)
	assert.Zero(t, count(all, "p", "thinned"))
}

func TestAShortBarByItselfIsDrawn(t *testing.T) {
	t.Parallel()
	all := drawn(t, timeline.Chart{Length: time.Hour, Lanes: lanes([]timeline.Bar{{From: time.Minute, To: time.Minute + 1}})})
	assert.Len(t, places(t, all, "hold"), 1)
}

func TestAShortOverlapIsDrawnThoughItsBarsAreNotToldApart(t *testing.T) {
	t.Parallel()
	one := crowd(8000)
	two := slices.Clone(one)
	for i := range two {
		two[i].From, two[i].To = two[i].From+ms, two[i].To+ms
	}
	two[5000].From -= ms / 2
	all := drawn(t, timeline.Chart{Lanes: lanes(one, two)})
	assert.Len(t, places(t, all, "overlap"), 3)
	assert.Contains(t, texts(all, "p", "judged")[0], "1 time, 500 µs in all")
}

func TestManyOverlapsAreDrawnAsFewButCounted(t *testing.T) {
	t.Parallel()
	page := write(t, timeline.Page{Charts: []timeline.Chart{{Lanes: lanes(crowd(8000), crowd(8000))}}})
	assert.Less(t, len(page), 1<<20)
	assert.Contains(t, page, "8000 times, 8.00 s in all")
}

func TestManyChartsShareWhatAPageMayHave(t *testing.T) {
	t.Parallel()
	var p timeline.Page
	for range 80 {
		c := timeline.Chart{Lanes: lanes(crowd(2000), crowd(2000))}
		for i := range 1000 {
			c.Bands = append(c.Bands, timeline.Band{From: time.Duration(3*i+1) * ms, To: time.Duration(3*i+2) * ms, Label: "cut off", Lane: "w1"})
		}
		p.Charts = append(p.Charts, c)
	}
	page := write(t, p)
	assert.Less(t, len(page), 8<<20)
}

func TestListHasWhatMattersHoweverMuchThereIs(t *testing.T) {
	t.Parallel()
	c := timeline.Chart{Lanes: lanes(crowd(900)), Bands: []timeline.Band{{From: 5 * ms, To: 10 * ms, Label: "cut off", Lane: "w1"}}}
	c.Lanes[0].Marks = []timeline.Mark{{At: 12 * ms, Label: "told", Class: timeline.Told}}
	c.Lanes[0].Bars = append(c.Lanes[0].Bars, timeline.Bar{From: 1900 * ms, To: 2 * time.Second, Label: "long"})
	page := write(t, timeline.Page{Charts: []timeline.Chart{c}})
	all := parse(t, page)
	assert.Equal(t, 200, len(texts(all, "li", ""))-len(texts(all, "svg", ""))+2, "entries")
	assert.Contains(t, page, "The 703 shortest are left out.")
	entries := strings.Join(texts(all, "span", ""), "\n")
	for _, want := range []string{"w1: cut off, 0.005 s to 0.010 s (5.00 ms)", "w1: told, 0.012 s", "w1: holds long, 1.900 s to 2.000 s (100 ms)"} {
		assert.Contains(t, entries, want)
	}
}

func TestAxisHasFewTicksAtRoundTimes(t *testing.T) {
	t.Parallel()
	for length, want := range map[time.Duration]string{
		800 * time.Nanosecond:  "0 0.5 µs 1 µs", // a chart is a microsecond at least
		350 * time.Microsecond: "0 100 µs 200 µs 300 µs",
		999 * ms:               "0 200 ms 400 ms 600 ms 800 ms",
		4500 * ms:              "0 1 s 2 s 3 s 4 s",
		90 * time.Second:       "0 20 s 40 s 60 s 80 s",
		10 * time.Minute:       "0 5m 10m",
		8 * time.Hour:          "0 2h 4h 6h 8h",
		100 * time.Hour:        "0 24h 48h 72h 96h",
	} {
		var got []string
		for _, e := range drawn(t, timeline.Chart{Length: length, Lanes: lanes(nil)}) {
			if e.is("text", "tick") && e.is("text", "t0") {
				got = append(got, e.text)
			}
		}
		assert.Equal(t, want, strings.Join(got, " "), length)
	}
}

func TestFinerTicksAreBetweenThoseOfTheAxis(t *testing.T) {
	t.Parallel()
	for _, length := range []time.Duration{7 * ms, 3 * time.Second, 4500 * ms, 47 * time.Second, 5 * time.Minute, 8 * time.Hour} {
		seen := make(map[string]bool)
		n := 0
		for _, e := range drawn(t, timeline.Chart{Length: length, Lanes: lanes(nil)}) {
			if e.is("text", "tick") {
				assert.False(t, seen[e.text], "%s: two ticks say %s", length, e.text)
				seen[e.text] = true
				n++
			}
		}
		assert.LessOrEqual(t, n, 125, length)
		assert.GreaterOrEqual(t, n, 8, length)
	}
}

func TestLabelsOfWhatWentWrongHaveRoomFirst(t *testing.T) {
	t.Parallel()
	c := timeline.Chart{Length: time.Hour, Lanes: lanes(nil)}
	for i := range 9 {
		c.Lanes[0].Marks = append(c.Lanes[0].Marks, timeline.Mark{At: 30*time.Minute + time.Duration(i)*2*time.Second, Label: "a word that is long"})
	}
	c.Lanes[0].Marks = append(c.Lanes[0].Marks, timeline.Mark{At: 30*time.Minute + 9*time.Second, Label: "accepted", Class: timeline.Bad})
	for _, e := range drawn(t, c) {
		if e.text == "accepted" {
			assert.True(t, e.is("text", "t0"), e.attr["class"])
			return
		}
	}
	t.Error("no label")
}

func TestClassesThatThereAreNotAreDrawnAsSomethingElse(t *testing.T) {
	t.Parallel()
	all := drawn(t, timeline.Chart{Lanes: []timeline.Lane{{
		Name: "w1", Bars: []timeline.Bar{{From: 1, To: 2, Class: `x" onclick="`}}, Marks: []timeline.Mark{{At: 1, Class: `y`}},
	}}})
	assert.Len(t, places(t, all, "other"), 1)
	assert.Equal(t, 1, len(tips(all, "use", "note")))
}

func TestLegendExplainsWhatIsOnTheChartAndNothingElse(t *testing.T) {
	t.Parallel()
	all := drawn(t, timeline.Chart{Lanes: []timeline.Lane{{Name: "w1", Bars: []timeline.Bar{{From: 1, To: 2}}, Marks: []timeline.Mark{{At: 1, Class: timeline.Told}}}}})
	assert.Equal(t, []string{"holds, with its token", "it is told that it lost"}, texts(all, "li", "")[:2])
}

func TestHoldsPastTheirDeadlineAreDrawnOneByOneHoweverShort(t *testing.T) {
	t.Parallel()
	bars := crowd(8000)
	for _, i := range []int{500, 501} {
		bars[i].Deadline = bars[i].From + ms/2
	}
	all := drawn(t, timeline.Chart{Lanes: lanes(bars)})
	assert.Len(t, places(t, all, "late"), 2)
}

func TestALongBarIsNotDrawnTogetherWithShortOnes(t *testing.T) {
	t.Parallel()
	all := drawn(t, timeline.Chart{Length: time.Hour, Lanes: lanes([]timeline.Bar{
		{From: 0, To: 30 * time.Minute, Deadline: 40 * time.Minute}, {From: 30 * time.Minute, To: 30*time.Minute + ms},
	})})
	assert.Len(t, places(t, all, "hold"), 2)
	assert.Empty(t, tips(all, "rect", "many"))
}
