package shard_test

import (
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/shard"
)

// returns reports whether a call returns though its caller does not: it needs nothing that the
// caller has. Virtual time stands still meanwhile.
func returns(call func()) bool {
	var done atomic.Bool
	go func() {
		call()
		done.Store(true)
	}()
	for range 20_000_000 {
		if done.Load() {
			return true
		}
		runtime.Gosched()
	}
	return false
}

// asks calls what a callback may call.
func (p *peer) asks() bool {
	return returns(func() { _ = p.Owned() }) && returns(func() { _ = p.Err() }) && returns(func() { _ = p.Drain(done(p.f.t)) })
}

// Whoever is the first to find that the lease is over tells the listener, on its goroutine.
func TestAListenerMayCallTheMemberWhoeverFindsTheEndOfTheLease(t *testing.T) {
	t.Parallel()
	for name, call := range map[string]func(m *shard.Member){
		"Owned": func(m *shard.Member) { _ = m.Owned() },
		"Err":   func(m *shard.Member) { _ = m.Err() },
	} {
		vtime.Run(t, func(t *testing.T, s *vtime.Server) {
			f := newFleet(t, s, 4)
			var p *peer
			var lost, stuck atomic.Int32
			p = f.process(lease.WithStateListener(func(_ *lease.Lease, s lease.State) {
				if s == lease.Lost {
					lost.Add(1)
					if !p.asks() {
						stuck.Add(1)
					}
				}
			}))
			require.NoError(t, <-p.joinsA())
			f.settled()
			l, err := p.session.Lease(t.Context())
			require.NoError(t, err)
			p.cut.Cut()
			for range 50 { // with the lease's timer, in any order
				go func() {
					for time.Until(l.Deadline()) > 0 {
						vtime.Sleep(time.Until(l.Deadline()))
					}
					call(p.Member)
				}()
			}
			vtime.Advance(ttl)
			require.Positive(t, lost.Load(), name)
			require.Zero(t, stuck.Load(), name)
			p.cut.Heal()
			vtime.Advance(ttl)
			stopAll(p)
		})
	}
}

func TestNoObserverIsCalledWhileTheMemberIsLocked(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		f := newFleet(t, s, 4)
		var p atomic.Pointer[peer]
		var stuck atomic.Int32
		var heard [3]atomic.Int32
		hears := func(n int) func(shard.Event) {
			return func(shard.Event) {
				heard[n].Add(1)
				if p := p.Load(); p != nil && !returns(func() { _ = p.Owned() }) {
					stuck.Add(1)
				}
			}
		}
		first := f.join("a", shard.WithObserver(shard.Observer{Acquired: hears(0), Leaving: hears(1), Released: hears(2)}))
		p.Store(first)
		f.settled()
		b := f.join("b")
		require.Equal(t, map[string]int{"a": 2, "b": 2}, counts(f.settled()))
		stopAll(first, b)
		for n := range heard {
			require.Equal(t, int32(4), heard[n].Load())
		}
		require.Zero(t, stuck.Load())
	})
}
