package workers

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"
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
// ends with in: with the parent, or its wish that the worker ends. Work that does not end
// then takes the process with it, since nobody may be left to kill it: a Lock of
// clientv3/concurrency does not return without an etcd.
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
	worked := make(chan struct{})
	defer close(worked)
	go func() { // ends after in, which is the process's own
		for lines.Scan() {
			told(lines.Text())
		}
		cancel()
		select {
		case <-worked:
		case <-time.After(grace):
			os.Exit(1)
		}
	}()
	return work(ctx)
}

// grace is how long work may take to end: more than it takes to drain, or to close a
// session that cannot reach etcd.
const grace = 15 * time.Second
