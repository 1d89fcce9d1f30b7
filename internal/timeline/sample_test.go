package timeline_test

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/conclave-go/conclave/internal/timeline"
)

const ms = time.Millisecond

// sample is a page with everything on it.
func sample() timeline.Page {
	systems := []string{"etcd Mutex", "etcd RWMutex", "etcd election", "Redis lock", "Redlock", "stock Mutex", "stock Election"}
	table := &timeline.Table{Title: "Verdicts", Corner: "fault", Columns: systems}
	for i, fault := range []string{"holder paused", "holder killed", "holder cut off, one way", "leader moved", "Redis clock +60 s"} {
		row := timeline.Row{Name: fault}
		for j := range systems {
			v := []timeline.Verdict{timeline.Held, timeline.Held, timeline.BrokenExpected, timeline.Skipped, timeline.Held, timeline.Broken}[(i*3+j)%6]
			row.Cells = append(row.Cells, timeline.Cell{Verdict: v, Tip: "36 cycles", Chart: []string{"pause", "cut", "many"}[(i+j)%3]})
		}
		table.Rows = append(table.Rows, row)
	}
	return timeline.Page{
		Title: "Faults and locks", Intro: "What <processes> did.\n\nA second paragraph & more.",
		Facts:  []timeline.Fact{{"seed", "42"}, {"etcd", "3.7.3"}, {"redis-server", "7.0.15"}, {"machine", "2 × AMD EPYC, Linux 6.1"}, {"command", "go run ./examples/chaos -seed 42 -html chaos.html"}},
		Table:  table,
		Charts: []timeline.Chart{pauseChart(), cutChart(), manyChart(), readersChart(), crowdedChart(), {ID: "none", Title: "Nothing"}},
	}
}

func pauseChart() timeline.Chart {
	return timeline.Chart{
		ID: "pause", Title: "The holder is stopped past its TTL", Verdict: timeline.Held, Outcome: "late guarded write refused",
		Text: "The first worker is stopped with SIGSTOP while it holds the lock.",
		Lanes: []timeline.Lane{
			{
				Name: "w1", Text: "process 4711",
				Bars: []timeline.Bar{
					{From: 0, To: 180 * ms, Label: "5", Released: true, Deadline: 2200 * ms},
					{From: 400 * ms, To: 3600 * ms, Deadline: 2600 * ms, Label: "9"},
					{From: 450 * ms, To: 600 * ms, Class: timeline.Section},
					{From: 3700 * ms, Class: timeline.Wait},
				},
				Marks: []timeline.Mark{
					{At: 900 * ms, Label: "stopped", Class: timeline.Fault},
					{At: 3400 * ms, Label: "woken", Class: timeline.Fault},
					{At: 3600 * ms, Label: "told: lock: lost", Class: timeline.Told},
					{At: 3640 * ms, Label: "late write refused", Class: timeline.Good},
				},
			},
			{
				Name: "w2", Text: "process 4712", Bars: []timeline.Bar{
					{From: 0, To: 190 * ms, Class: timeline.Wait},
					{From: 190 * ms, To: 390 * ms, Label: "7", Released: true},
					{From: 410 * ms, To: 2700 * ms, Class: timeline.Wait},
					{From: 2700 * ms, To: 3100 * ms, Label: "14", Released: true},
					{From: 3120 * ms, To: 3300 * ms, Class: timeline.Wait},
					{From: 3300 * ms, Label: "16"},
				},
			},
			{
				Name: "w3", Text: "process 4713", Bars: []timeline.Bar{
					{From: 20 * ms, To: 3100 * ms, Class: timeline.Wait},
					{From: 3110 * ms, To: 3290 * ms, Label: "15", Released: true},
				},
			},
		},
		Bands:   []timeline.Band{{From: 900 * ms, To: 3400 * ms, Label: "stopped", Lane: "w1"}},
		Notes:   []string{"L, from death to the next grant: 1.8 s."},
		Details: []timeline.Detail{{Title: "Schedule", Text: "900ms pause w1\n3400ms resume w1"}},
	}
}

func cutChart() timeline.Chart {
	return timeline.Chart{
		ID: "cut", Title: "The stock session under a partition", Verdict: timeline.BrokenExpected, Outcome: "two holders for 700 ms",
		Lanes: []timeline.Lane{
			{Name: "w1, a worker with a long name", Text: "clientv3/concurrency", Bars: []timeline.Bar{{From: 100 * ms, To: 2900 * ms, Label: "1055"}}, Marks: []timeline.Mark{
				{At: 2900 * ms, Label: "told: session done", Class: timeline.Told}, {At: 2990 * ms, Label: "write accepted", Class: timeline.Bad},
			}},
			{Name: "w2", Bars: []timeline.Bar{{From: 150 * ms, To: 2200 * ms, Class: timeline.Wait}, {From: 2200 * ms, To: 3300 * ms, Label: "1058"}}},
			{Name: "killed", Bars: []timeline.Bar{{From: 3300 * ms, To: 3500 * ms, Deadline: 4300 * ms, Label: "1059"}}, Marks: []timeline.Mark{{At: 3500 * ms, Label: "killed", Class: timeline.Fault}}},
			{Name: "etcd m1", Bars: []timeline.Bar{{From: 0, To: 1500 * ms, Label: "leader", Class: timeline.Other}, {From: 1800 * ms, Label: "follower", Class: timeline.Other}}},
		},
		Bands: []timeline.Band{
			{From: 700 * ms, To: 3 * time.Second, Label: "cut off", Lane: "w1, a worker with a long name"},
			{From: 1500 * ms, To: 1800 * ms, Label: "no leader"},
		},
		Length:  5 * time.Second,
		Details: []timeline.Detail{{Title: "porcupine", HTML: "<!DOCTYPE html><p id=x>before</p><script>document.getElementById('x').textContent = 'a \"document\" of its own'</script>"}},
	}
}

// manyChart has more than can be drawn one by one.
func manyChart() timeline.Chart {
	c := timeline.Chart{ID: "many", Title: "3,000 hand-overs", Verdict: timeline.Held}
	for i := range 3 {
		lane := timeline.Lane{Name: fmt.Sprintf("w%d", i+1)}
		for j := range 1000 {
			at := time.Duration(j*3+i) * ms * 3 / 2
			lane.Bars = append(lane.Bars, timeline.Bar{From: at, To: at + ms, Label: fmt.Sprint(j*3 + i + 10), Released: true})
		}
		if i == 1 {
			lane.Bars = append(lane.Bars, timeline.Bar{From: 4600 * ms, To: 4900 * ms, Label: "4000"})
		}
		c.Lanes = append(c.Lanes, lane)
	}
	return c
}

// crowdedChart has more labels than there is room for.
func crowdedChart() timeline.Chart {
	r := rand.New(rand.NewPCG(1, 2))
	c := timeline.Chart{Title: "A crowd", Length: 30 * time.Second}
	classes := []timeline.MarkClass{timeline.Note, timeline.Fault, timeline.Told, timeline.Good, timeline.Bad}
	for i := range 3 {
		lane := timeline.Lane{Name: fmt.Sprintf("w%d", i+1)}
		for range 25 {
			label := []string{"told", "late write refused", "unguarded: overwrote 13, having read 12", "killed"}[r.IntN(4)]
			at := time.Duration(r.IntN(30_000)) * ms
			lane.Marks = append(lane.Marks, timeline.Mark{At: at, Label: label, Class: classes[r.IntN(5)]})
			c.Bands = append(c.Bands, timeline.Band{From: at + ms, To: at + 300*ms, Label: label, Lane: lane.Name})
		}
		c.Lanes = append(c.Lanes, lane)
	}
	return c
}

func readersChart() timeline.Chart {
	return timeline.Chart{
		Title: "Readers and a writer", Verdict: timeline.Broken,
		Lanes: []timeline.Lane{
			{Name: "r1", Bars: []timeline.Bar{{From: 0, To: 300 * ms, Label: "3", Class: timeline.Shared}}},
			{Name: "r2", Bars: []timeline.Bar{{From: 100 * ms, To: 420 * ms, Label: "4", Class: timeline.Shared}}},
			{Name: "wr", Bars: []timeline.Bar{{From: 400 * ms, To: 600 * ms, Label: "5"}}, Marks: []timeline.Mark{{At: 420 * ms, Label: "in"}}},
		},
	}
}
