package main

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	"google.golang.org/grpc"
)

const (
	// callTimeout is how long a caller waits for an answer, however busy the machine.
	callTimeout = 20 * time.Second
	// callEvery is a caller's pause between an answer and the next call.
	callEvery = 2 * time.Millisecond
)

// callers call the service all the time, by one connection, and count what comes of it.
type callers struct {
	conn    *grpc.ClientConn
	cancel  context.CancelFunc
	calling sync.WaitGroup // ends after cancel

	mu      sync.Mutex
	tally   tally
	changed chan struct{} // closed and replaced with each call
}

// tally is what has become of calls.
type tally struct {
	by     map[string]int // answered, by server
	failed int
	err    error // of the latest that failed
}

// calls returns how many there were.
func (t tally) calls() int {
	n := t.failed
	for _, answered := range t.by {
		n += answered
	}
	return n
}

// since returns what has been added to an earlier tally.
func (t tally) since(earlier tally) tally {
	diff := tally{by: make(map[string]int), failed: t.failed - earlier.failed, err: t.err}
	for name, n := range t.by {
		diff.by[name] = n - earlier.by[name]
	}
	return diff
}

// newCallers returns some who wait to be started.
func newCallers(conn *grpc.ClientConn) *callers {
	return &callers{conn: conn, cancel: func() {}, tally: tally{by: make(map[string]int)}, changed: make(chan struct{})}
}

// start has n of them call until ctx ends or they are stopped.
func (c *callers) start(ctx context.Context, n int) {
	ctx, c.cancel = context.WithCancel(ctx)
	for range n {
		c.calling.Go(func() { c.call(ctx) })
	}
}

func (c *callers) stop() {
	c.cancel()
	c.calling.Wait()
}

func (c *callers) call(ctx context.Context) {
	for ctx.Err() == nil {
		limited, cancel := context.WithTimeout(ctx, callTimeout)
		name, err := ask(limited, c.conn)
		cancel()
		if ctx.Err() != nil {
			return
		}
		c.count(name, err)
		select {
		case <-time.After(callEvery):
		case <-ctx.Done():
		}
	}
}

func (c *callers) count(name string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.tally.failed++
		c.tally.err = err
	} else {
		c.tally.by[name]++
	}
	close(c.changed)
	c.changed = make(chan struct{})
}

// now returns the present tally, and what is closed when it changes.
func (c *callers) now() (tally, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.tally
	t.by = maps.Clone(t.by)
	return t, c.changed
}

// await waits until what has been added to a tally meets the condition.
func (c *callers) await(ctx context.Context, since tally, cond func(tally) bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("not the calls that were expected within %s", patience))
	defer cancel()
	for {
		t, changed := c.now()
		if cond(t.since(since)) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
