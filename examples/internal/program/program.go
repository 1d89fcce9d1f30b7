package program

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
)

// Exit codes, as shells have them.
const (
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130
)

// ErrInterrupted is the cause of the end of a context of Interruptible.
var ErrInterrupted = errors.New("interrupted")

// UsageError is a command line that a program does not understand.
type UsageError struct {
	// Err says what is wrong with it.
	Err error
	// Usage is a line that says how it should look.
	Usage string
}

// Error says what is wrong, and how it should look.
func (e *UsageError) Error() string { return e.Err.Error() + "\n" + e.Usage }

// Unwrap returns Err.
func (e *UsageError) Unwrap() error { return e.Err }

// Misuse returns err as a [UsageError], and nil for nil.
func Misuse(err error, usage string) error {
	if err == nil {
		return nil
	}
	return &UsageError{Err: err, Usage: usage}
}

// Interruptible returns a context that ends with the signals that ask a program to
// go. From then on they are ignored, because a second Ctrl-C must not cut the
// clean-up short; so what follows has to be bounded in time. A broken pipe does not
// kill the program any more either: the write fails. The returned function ends the
// context with a cause.
func Interruptible(ctx context.Context) (context.Context, context.CancelCauseFunc) {
	signal.Ignore(brokenPipe()...)
	ctx, end := context.WithCancelCause(ctx)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, terminations()...)
	go func() { // ends with the process
		for range signals {
			end(ErrInterrupted)
		}
	}()
	return ctx, end
}

// CauseOr returns why ctx was ended, and err if it was not.
func CauseOr(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// Exit ends the process with what err deserves: an explanation on standard error
// and an exit code. Asking for help and Ctrl-C need no explanation.
func Exit(name string, err error) {
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		os.Exit(0)
	case errors.Is(err, ErrInterrupted):
		os.Exit(exitInterrupted)
	}
	fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
	if _, ok := errors.AsType[*UsageError](err); ok {
		os.Exit(exitUsage)
	}
	os.Exit(exitFailed)
}
