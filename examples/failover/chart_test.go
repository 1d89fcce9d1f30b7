package main

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/conclave-go/conclave/examples/internal/report"
	"github.com/conclave-go/conclave/internal/timeline"
)

func TestChartHasWhatCandidatesReported(t *testing.T) {
	t.Parallel()
	r := report.NewRecorder(0, "c1", "c2")
	for _, e := range []event{
		{At: 5, Worker: "c1", Kind: ready, PID: 101},
		{At: 20, Worker: "c1", Kind: elected, Token: 5, Until: 60},
		{At: 25, Worker: "c1", Kind: leads, Token: 5, Until: 80},
		{At: 28, Worker: "c1", Kind: transfers, Token: 5},
		{At: 29, Worker: "c1", Kind: refused, Token: 5, Detail: "gone"},
		{At: 30, Worker: "c1", Kind: acted, Detail: string(cutOff)},
		{At: 85, Worker: "c1", Kind: told, Token: 5, Until: 85, Detail: "late"},
		{At: 90, Worker: "c1", Kind: acted, Detail: string(toldLost)},
		{At: 92, Worker: "c1", Kind: wrote, Token: 5, OK: true},
		{At: 15, Worker: "c2", Kind: waits},
		{At: 87, Worker: "c2", Kind: elected, Token: 9},
		{At: 95, Worker: "c2", Kind: resigns, Token: 9},
		{At: 97, Worker: "c2", Kind: waits},
		{At: 99, Worker: "c2", Kind: acted, Detail: string(stopped)},
		{At: 105, Worker: "c2", Kind: acted, Detail: string(leading)},
		{At: 110, Worker: "c2", Kind: acted, Detail: string(killed)},
		{At: 111, Worker: "c2", Kind: exited},
		{At: 120, Worker: "c2", Kind: acted, Detail: string(starting)},
		{At: 130, Worker: "c2", Kind: exited, Detail: "enough"},
	} {
		chart(r, e)
	}
	c := r.Chart(200, "", "", false)
	assert.Equal(t, []timeline.Lane{
		{
			Name: "c1", Text: "process 101",
			Bars: []timeline.Bar{{From: 20, To: 85, Deadline: 85, Label: "0.5"}},
			Marks: []timeline.Mark{
				{At: 28, Label: "transfers"},
				{At: 29, Label: "transfer refused", Tip: "gone"},
				{At: 85, Label: "told", Tip: "late", Class: timeline.Told},
				{At: 92, Label: "late write accepted", Class: timeline.Bad},
			},
		},
		{
			Name: "c2",
			Bars: []timeline.Bar{
				{From: 15, To: 87, Class: timeline.Wait},
				{From: 87, To: 95, Released: true, Label: "0.9"},
				{From: 97, To: 110, Class: timeline.Wait},
			},
			Marks: []timeline.Mark{
				{At: 95, Label: "resigns"},
				{At: 110, Label: "killed", Class: timeline.Fault},
				{At: 120, Label: "started again", Class: timeline.Fault},
				{At: 130, Label: "gives up", Tip: "enough", Class: timeline.Bad},
			},
		},
	}, c.Lanes)
	assert.Equal(t, []timeline.Band{
		{From: 30, To: 90, Label: "cut off", Lane: "c1"},
		{From: 99, To: 105, Label: "stopped", Lane: "c2"},
	}, c.Bands)
	assert.Equal(t, timeline.Broken, c.Verdict)
}

func TestTableLeadsToTheFirstActThatBrokeSomething(t *testing.T) {
	t.Parallel()
	b := &board{
		failovers: []failover{{act: "crash", took: 5}, {act: "crash", took: 7}, {act: "resign", took: 1}},
		charts: []timeline.Chart{
			{ID: "a", Title: "crash", Verdict: timeline.Held},
			{ID: "b", Title: "crash", Verdict: timeline.Broken},
			{ID: "c", Title: "crash", Verdict: timeline.Broken},
			{ID: "d", Title: "resign", Verdict: timeline.Held},
			{ID: "e", Title: "resign", Verdict: timeline.Held},
		},
	}
	table := b.table()
	assert.Equal(t, timeline.Cell{Verdict: timeline.Broken, Chart: "b"}, table.Rows[0].Cells[0])
	assert.Equal(t, timeline.Cell{Verdict: timeline.Held, Chart: "d"}, table.Rows[1].Cells[0])
}
