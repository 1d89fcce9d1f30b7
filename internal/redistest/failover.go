package redistest

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Master is what a [NewSentinel] calls the server that it watches.
const Master = "master"

// awaitEvery is how often a replica is asked whether it has caught up.
const awaitEvery = 10 * time.Millisecond

// Replicate makes node i of processes a replica of node 0, and returns when it has its data.
func (c *Cluster) Replicate(tb testing.TB, i int) {
	tb.Helper()
	c.Node(0).changed.Store(true) // a Sentinel may follow
	host, port, err := net.SplitHostPort(c.Node(0).Addr())
	if err == nil {
		err = c.Node(i).Admin().ReplicaOf(tb.Context(), host, port).Err()
	}
	c.awaitReplica(tb, i, err)
}

// awaitReplica returns when node i has the data of its master.
func (c *Cluster) awaitReplica(tb testing.TB, i int, err error) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), callTimeout)
	defer cancel()
	for err == nil {
		var role []any
		role, err = c.Node(i).Admin().Do(ctx, "ROLE").Slice()
		if err == nil && len(role) > 3 && role[3] == "connected" {
			return
		}
		if err == nil {
			select {
			case <-time.After(awaitEvery):
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
	}
	tb.Fatalf("redistest: node %d does not become a replica: %v", i, err)
}

// NewSentinel starts a Sentinel that watches node 0 by the name of [Master], and returns its
// address. It makes a replica the master when that does not answer for three seconds.
func (c *Cluster) NewSentinel(tb testing.TB) string {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), callTimeout)
	defer cancel()
	p, err := startProcess(ctx, config{master: c.Node(0).Addr()})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = p.finish() })
	return p.addr()
}

// sentinel writes the configuration of a Sentinel and returns its arguments.
func (p *process) sentinel(port string) ([]string, error) {
	host, masterPort, err := net.SplitHostPort(p.cfg.master)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(p.dir.Path(), "sentinel.conf")
	text := fmt.Sprintf("port %s\nbind 127.0.0.1\ndir %s\nsentinel monitor %s %s %s 1\n"+
		"sentinel down-after-milliseconds %s 3000\nsentinel failover-timeout %s 2000\n",
		port, p.dir.Path(), Master, host, masterPort, Master, Master)
	return []string{file, "--sentinel"}, os.WriteFile(file, []byte(text), 0o600)
}
