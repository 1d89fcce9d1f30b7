package redistest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
)

// A process of redis-server costs 60 ms of CPU time from its start to its end, more than most tests that
// use it. So a test that is done with one leaves it to the next, empty and without clients, for as long as any
// test has some. What a test has stopped or told by [Node.Admin] to be different, and what is down, ends with it.

// unused are the processes that wait for a test.
//
//nolint:gochecknoglobals // tests know nothing else of each other
var unused reserve

type reserve struct {
	mu        sync.Mutex
	clusters  int // of tests that run
	processes []*process
}

// enter begins a cluster, leave ends it.
func (r *reserve) enter() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clusters++
}

func (r *reserve) leave() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clusters--
	if r.clusters > 0 {
		return nil
	}
	var errs []error
	for _, p := range r.processes {
		errs = append(errs, p.finish())
	}
	r.processes = nil
	return errors.Join(errs...)
}

// take returns a process, or nil.
func (r *reserve) take() *process {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.processes) == 0 {
		return nil
	}
	p := r.processes[len(r.processes)-1]
	r.processes = r.processes[:len(r.processes)-1]
	return p
}

func (r *reserve) put(p *process) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.processes = append(r.processes, p)
}

// reuse leaves the node's process to another test, if that finds it as a new one is.
func (n *Node) reuse() bool {
	if _, err := n.process.running(); err != nil || n.changed.Load() {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	// Twice: what a client that is gone has sent may arrive with the first, and not after it.
	for range 2 {
		if err := n.empty(ctx); err != nil {
			return false
		}
	}
	unused.put(n.process)
	return true
}

// empty ends all clients and removes what they have left.
func (n *Node) empty(ctx context.Context) error {
	_, err := n.admin.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, kind := range []string{"normal", "pubsub"} {
			p.Do(ctx, "CLIENT", "KILL", "TYPE", kind)
		}
		p.FlushAll(ctx)
		p.ScriptFlush(ctx)
		p.ConfigResetStat(ctx)
		return nil
	})
	return err
}

// ordinary reports whether a command changes nothing but keys and scripts.
func ordinary(command string) bool {
	switch command {
	case "client setinfo", "client maint_notifications", "del", "exists", "get", "hello", "hset", "info", "keys", "persist", "pexpire", "ping",
		"pttl", "pubsub", "role", "script", "set", "time":
		return true
	}
	return false
}

// notice notes whether the node is not as others are any more after what it is told.
func (n *Node) notice(cmd redis.Cmder) {
	called := strings.ToLower(cmd.Name())
	if args := cmd.Args(); called == "client" && len(args) > 1 {
		called = strings.ToLower(fmt.Sprint(called, " ", args[1]))
	}
	if !ordinary(called) {
		n.changed.Store(true)
	}
}
