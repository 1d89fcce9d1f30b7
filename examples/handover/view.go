package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/conclave-go/conclave/examples/internal/screen"
)

// view shows a run to people. Its methods are called by one goroutine.
type view interface {
	Title(line string)
	Say(at time.Duration, line string)
	Close() error
	update(b *board)
	handover(at time.Duration, b *board, h handover)
}

const (
	// firstShown is how many hand-overs of an act are shown one by one.
	firstShown = 3
	// summaryEvery is how often the others are summed up.
	summaryEvery = time.Second
)

// plain writes lines.
type plain struct {
	screen.Lines

	verbose bool // every hand-over

	shown   int
	pending []time.Duration // hand-overs not shown
	next    time.Duration   // when they are summed up
}

// Title begins to show hand-overs one by one again.
func (p *plain) Title(line string) {
	p.Lines.Title(line)
	p.shown, p.pending = 0, nil
}

func (p *plain) update(*board) {}

func (p *plain) handover(at time.Duration, b *board, h handover) {
	if p.verbose || p.shown < firstShown {
		p.shown++
		p.next = at + summaryEvery
		p.Say(at, describe(b, h))
		return
	}
	p.pending = append(p.pending, h.took)
	if at < p.next {
		return
	}
	slices.Sort(p.pending)
	p.Say(at, fmt.Sprintf("... %d more hand-overs, p50 %s, max %s; now %s",
		len(p.pending), screen.Millis(screen.Percentile(p.pending, 50)), screen.Millis(screen.Percentile(p.pending, 100)), holdsNow(h)))
	p.pending, p.next = nil, at+summaryEvery
}

func holdsNow(h handover) string { return fmt.Sprintf("%s holds %s", h.to, h.token) }

// describe says who holds, since when, and who waits for whom.
func describe(b *board, h handover) string {
	line := fmt.Sprintf("%s holds, token %s, %s after %s", h.to, h.token, screen.Millis(h.took), h.from)
	before := h.to
	var waits []string
	for _, name := range b.behind(h.to) {
		waits = append(waits, name+" for "+before)
		before = name
	}
	if len(waits) > 0 {
		line += "; waiting: " + strings.Join(waits, ", ")
	}
	return line
}
