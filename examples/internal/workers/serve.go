package workers

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
)

// UnlessDone returns err unless the end of ctx accounts for it.
func UnlessDone(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return nil
}

// Serve is the other side of [Start]: it reads the job from in and then does the
// work, while told is given the lines that [Process.Send] sends. The work's context
// ends with in: with the parent, or its wish that the worker ends.
func Serve(ctx context.Context, in io.Reader, job any, told func(line string), work func(context.Context) error) error {
	signal.Ignore(os.Interrupt) // it is for the parent
	lines := bufio.NewScanner(in)
	if !lines.Scan() {
		return fmt.Errorf("no job: %w", io.ErrUnexpectedEOF)
	}
	if err := json.Unmarshal(lines.Bytes(), job); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // ends with in, which is the process's own
		defer cancel()
		for lines.Scan() {
			told(lines.Text())
		}
	}()
	return work(ctx)
}
