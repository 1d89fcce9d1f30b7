package main

import (
	"context"
	"os"
	"time"

	"github.com/conclave-go/conclave/examples/internal/program"
	"github.com/conclave-go/conclave/examples/internal/screen"
)

// live shows a panel instead of the hand-overs.
type live struct{ *screen.Terminal }

// newLive takes over the terminal. end is called when the user has seen enough.
func newLive(out *os.File, end context.CancelCauseFunc) live {
	return live{screen.NewTerminal(out, end, func(key string) {
		if key == "q" {
			end(program.ErrInterrupted)
		}
	})}
}

func (l live) update(b *board) {
	b = b.clone()
	l.Show(func(styles screen.Styles, width int) []string { return panel{styles, width}.draw(b) })
}

func (l live) handover(time.Duration, *board, handover) {}
