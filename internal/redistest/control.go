package redistest

import (
	"context"
	"errors"
	"syscall"
	"time"
)

// These are the faults for programs, which have no testing.TB.

// Crash is [Node.Kill].
func (n *Node) Crash() error { return n.kill() }

// reviveEvery is how often a node that comes back asks for its port, if another program
// has taken it meanwhile.
const reviveEvery = 50 * time.Millisecond

// Revive is [Node.Restart].
func (n *Node) Revive(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	for {
		err := errors.Join(n.kill(), n.restart(ctx))
		if !errors.Is(err, syscall.EADDRINUSE) {
			return err
		}
		select {
		case <-time.After(reviveEvery):
		case <-ctx.Done():
			return err
		}
	}
}

// Suspend is [Node.Stop].
func (n *Node) Suspend() error {
	if n.process == nil {
		return errors.New("redistest: an embedded node cannot be stopped; use a Net")
	}
	n.changed.Store(true)
	return n.process.stop()
}

// Resume is [Node.Continue].
func (n *Node) Resume() error {
	if n.process == nil {
		return nil
	}
	return n.process.resume()
}
