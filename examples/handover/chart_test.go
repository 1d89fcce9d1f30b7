package main

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/conclave-go/conclave/examples/internal/report"
	"github.com/conclave-go/conclave/internal/timeline"
)

func TestChartHasWhatWorkersReported(t *testing.T) {
	t.Parallel()
	b, r := newBoard([]string{"w1", "w2"}), report.NewRecorder(0, "w1", "w2")
	for _, e := range []event{
		{At: 5, Worker: "w1", Kind: ready, PID: 101},
		{At: 10, Worker: "w1", Kind: wants},
		{At: 11, Kind: enqueued, Key: "l/1", Revision: 5},
		{At: 20, Worker: "w1", Kind: granted, Key: "l/1", Until: 60},
		{At: 25, Worker: "w1", Kind: keeps, Until: 80},
		{At: 30, Worker: "w1", Kind: acted, Detail: string(stopped)},
		{At: 90, Worker: "w1", Kind: acted, Detail: string(holds)},
		{At: 95, Worker: "w1", Kind: lost, Until: 85, Detail: "late"},
		{At: 96, Worker: "w1", Kind: wrote},
		{At: 85, Worker: "w2", Kind: granted, Token: "9"},
		{At: 99, Worker: "w2", Kind: released},
		{At: 100, Worker: "w2", Kind: granted, Token: "12"},
		{At: 110, Worker: "w2", Kind: acted, Detail: string(cutOff)},
		{At: 120, Worker: "w2", Kind: acted, Detail: string(between)},
		{At: 130, Worker: "w2", Kind: acted, Detail: string(killed)},
		{At: 140, Worker: "w2", Kind: exited},
		{At: 150, Worker: "w1", Kind: exited, Detail: "enough"},
	} {
		b.apply(e)
		b.record(r, e)
	}
	c := r.Chart(200, "", "", false)
	assert.Equal(t, []timeline.Lane{
		{
			Name: "w1", Text: "process 101",
			Bars: []timeline.Bar{{From: 10, To: 20, Class: timeline.Wait}, {From: 20, To: 95, Deadline: 85, Label: "5"}},
			Marks: []timeline.Mark{
				{At: 95, Label: "told", Tip: "late", Class: timeline.Told},
				{At: 96, Label: "late write refused", Class: timeline.Good},
				{At: 150, Label: "gives up", Tip: "enough", Class: timeline.Bad},
			},
		},
		{
			Name:  "w2",
			Bars:  []timeline.Bar{{From: 85, To: 99, Released: true, Label: "9"}, {From: 100, To: 130, Label: "12"}},
			Marks: []timeline.Mark{{At: 130, Label: "killed", Class: timeline.Fault}},
		},
	}, c.Lanes)
	assert.Equal(t, []timeline.Band{
		{From: 30, To: 90, Label: "stopped", Lane: "w1"},
		{From: 110, To: 120, Label: "cut off", Lane: "w2"},
	}, c.Bands)
}

func TestDeadlineOfAKilledHolderIsTheLastThatItReported(t *testing.T) {
	t.Parallel()
	b, r := newBoard([]string{"w1"}), report.NewRecorder(0, "w1")
	for _, e := range []event{
		{At: 20, Worker: "w1", Kind: granted, Token: "5", Until: 60},
		{At: 25, Worker: "w1", Kind: keeps, Until: 80},
		{At: 30, Worker: "w1", Kind: acted, Detail: string(killed)},
	} {
		b.apply(e)
		b.record(r, e)
	}
	assert.Equal(t, []timeline.Bar{{From: 20, To: 30, Deadline: 80, Label: "5"}}, r.Chart(100, "", "", false).Lanes[0].Bars)
}
