package main

import (
	"context"
	"os"
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
}

// plain writes lines.
type plain struct{ screen.Lines }

func (p *plain) update(*board) {}

// live shows a panel below them.
type live struct {
	*screen.Terminal

	keys string // that are explained
}

// newLive takes over the terminal. end is called when the user has seen enough; other
// keys go to keys, unless that is nil.
func newLive(out *os.File, end context.CancelCauseFunc, keys chan<- string) live {
	pressed := func(key string) {
		if key == "q" {
			end(errEnough)
			return
		}
		select {
		case keys <- key:
		default: // one at a time, or nobody listens
		}
	}
	l := live{Terminal: screen.NewTerminal(out, end, pressed), keys: "q ends it"}
	if keys != nil {
		l.keys = explainKeys() + l.keys
	}
	return l
}

func explainKeys() string {
	var line strings.Builder
	for _, a := range acts() {
		line.WriteString(a.key + " " + a.name + "   ")
	}
	return line.String()
}

func (l live) update(b *board) {
	b = b.clone()
	l.Show(func(styles screen.Styles, width int) []string { return panel{styles, width, l.keys}.draw(b) })
}
