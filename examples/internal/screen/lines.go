package screen

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"
)

// Lines shows a run as plain lines. Its methods are called by one goroutine.
type Lines struct {
	// W is where the lines go.
	W io.Writer
	// Failed is called when nobody reads them.
	Failed context.CancelCauseFunc
}

// Title introduces what follows.
func (l *Lines) Title(text string) { l.printf("\n%s\n", text) }

// Say tells what happened at a time.
func (l *Lines) Say(at time.Duration, text string) {
	width := DefaultWidth
	if f, ok := l.W.(*os.File); ok {
		width = Width(f)
	}
	l.printf("%s\n", At(at, text, width))
}

// Close does nothing.
func (l *Lines) Close() error { return nil }

func (l *Lines) printf(format string, args ...any) {
	if _, err := fmt.Fprintf(l.W, format, args...); err != nil {
		l.Failed(err)
	}
}
