package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/conclave-go/conclave/examples/internal/screen"
)

// view shows a run to people. Its methods are called by one goroutine.
type view interface {
	title(line string)
	say(at time.Duration, line string)
	update(b *board)
	handover(at time.Duration, b *board, h handover)
	close() error
}

const (
	// firstShown is how many hand-overs of an act are shown one by one.
	firstShown = 3
	// summaryEvery is how often the others are summed up.
	summaryEvery = time.Second
)

// plain writes lines.
type plain struct {
	w       io.Writer
	verbose bool                    // every hand-over
	failed  context.CancelCauseFunc // called when nobody reads them

	shown   int
	pending []time.Duration // hand-overs not shown
	next    time.Duration   // when they are summed up
}

func (p *plain) printf(format string, args ...any) {
	if _, err := fmt.Fprintf(p.w, format, args...); err != nil {
		p.failed(err)
	}
}

func (p *plain) title(line string) {
	p.printf("\n%s\n", line)
	p.shown, p.pending = 0, nil
}

func (p *plain) say(at time.Duration, line string) {
	p.printf("%s\n", screen.At(at, line, screen.DefaultWidth))
}

func (p *plain) update(*board) {}

func (p *plain) close() error { return nil }

func (p *plain) handover(at time.Duration, b *board, h handover) {
	if p.verbose || p.shown < firstShown {
		p.shown++
		p.next = at + summaryEvery
		p.say(at, describe(b, h))
		return
	}
	p.pending = append(p.pending, h.took)
	if at < p.next {
		return
	}
	slices.Sort(p.pending)
	p.say(at, fmt.Sprintf("... %d more hand-overs, p50 %s, max %s; now %s",
		len(p.pending), millis(percentile(p.pending, 50)), millis(percentile(p.pending, 100)), holdsNow(h)))
	p.pending, p.next = nil, at+summaryEvery
}

func holdsNow(h handover) string { return fmt.Sprintf("%s holds %s", h.to, h.token) }

// describe says who holds, since when, and who waits for whom.
func describe(b *board, h handover) string {
	line := fmt.Sprintf("%s holds, token %s, %s after %s", h.to, h.token, millis(h.took), h.from)
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
