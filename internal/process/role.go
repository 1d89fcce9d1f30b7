package process

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"time"
)

// Variable is the environment variable that names the role of a child.
const Variable = "CONCLAVE_ROLE"

// Line is where a child gets its job and orders, and reports.
type Line struct {
	in *bufio.Scanner

	mu  sync.Mutex
	out *json.Encoder
}

// Role is what a child does until ctx ends.
type Role func(ctx context.Context, line *Line) error

// Main makes the program a child if the environment says so, and then does not return.
// It belongs at the very beginning of main and TestMain.
func Main(roles map[string]Role) {
	name := os.Getenv(Variable)
	if name == "" {
		return
	}
	signal.Ignore(os.Interrupt) // it is for the parent
	role, ok := roles[name]
	if !ok {
		fmt.Fprintf(os.Stderr, "%s=%s: no such role\n", Variable, name)
		os.Exit(2)
	}
	if err := role(context.Background(), &Line{in: scanner(os.Stdin), out: json.NewEncoder(os.Stdout)}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// scanner takes lines of any length that occurs.
func scanner(in io.Reader) *bufio.Scanner {
	const longest = 1 << 20
	s := bufio.NewScanner(in)
	s.Buffer(nil, longest)
	return s
}

// Report writes one value to the parent. If that is gone, so is its end of the input.
func (l *Line) Report(v any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.out.Encode(v)
}

// Serve reads the job and then does the work, while told is given every further line.
// The work's context ends with the input: with the parent, or its wish. Work that this
// interrupts has not failed. Work that does not end within [Grace] then takes the process
// with it, since nobody may be left to kill it: a Lock of clientv3/concurrency does not
// return without an etcd.
func (l *Line) Serve(ctx context.Context, job any, told func(line string), work func(context.Context) error) error {
	if !l.in.Scan() {
		return fmt.Errorf("no job: %w", io.ErrUnexpectedEOF)
	}
	if err := json.Unmarshal(l.in.Bytes(), job); err != nil {
		return fmt.Errorf("job: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	worked := make(chan struct{})
	defer close(worked)
	go func() { // ends after the input, which is the process's own
		for l.in.Scan() {
			told(l.in.Text())
		}
		cancel()
		select {
		case <-worked:
		case <-time.After(grace):
			fmt.Fprintf(os.Stderr, "not over %s after it was told to end\n", grace)
			os.Exit(1)
		}
	}()
	if err := work(ctx); ctx.Err() == nil || !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}
