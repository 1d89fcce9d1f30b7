package redlock

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/conclave-go/conclave/internal/clock"
)

// MaxName is the longest name of a lock in bytes.
const MaxName = 1024

// Mutex is a lock that, under the assumptions of Redlock, at most one holder has at a time
// among all clients of the nodes that use its name. It does not belong to one holder: any
// number of goroutines may call Lock on one Mutex, and they exclude each other as different
// processes do. Use [NewMutex]; the zero value is not valid.
type Mutex struct {
	nodes     *Nodes
	cfg       mutexConfig
	name      string
	key       string
	tombstone string // what its tombstones begin with
	channel   string // on which releases are told
}

// NewMutex returns the mutex of the given name. It makes no request.
//
// The name must be valid UTF-8 of 1 to [MaxName] bytes, without control characters. If
// it has a closing brace, it must have a hash tag of Redis Cluster, a part in braces:
// the keys of a lock have to be in one slot.
func NewMutex(nodes *Nodes, name string, opts ...MutexOption) (*Mutex, error) {
	if nodes == nil || nodes.hub == nil {
		return nil, errors.New("redlock: nodes are nil: must come from NewNodes")
	}
	c, err := nodes.cfg.mutex(opts)
	if err := errors.Join(checkName(name, nodes.cfg.prefix), err); err != nil {
		return nil, err
	}
	m := &Mutex{nodes: nodes, cfg: c, name: name, key: nodes.cfg.prefix + name}
	slot := m.key
	if !tagged(m.key) {
		slot = nodes.cfg.prefix + "{" + m.key + "}" // the slot of the whole key
	}
	// The channel need not be in the slot, and the braces would make one of "a" and "{a}".
	m.tombstone, m.channel = slot+":gone:", m.key+":released"
	return m, nil
}

// Lock waits for the lock and returns the hold on it. There is no queue: whoever asks
// first after a release is granted.
//
// It goes on when nodes fail, and fails only when ctx ends (its error then Is ctx.Err(),
// and wraps what the last attempt failed with), when too many nodes refuse for good, for
// example for lack of permission (a [*QuorumError]), or after [Nodes.Close] ([ErrClosed]).
// Then nothing is held; what was written is removed in the background.
//
// Of the calls for one name on the same nodes, the one that has waited longest asks and is
// woken, and the others wait for it.
func (m *Mutex) Lock(ctx context.Context) (*Hold, error) {
	if err := m.check(ctx); err != nil {
		return nil, err
	}
	c, ctx := m.begin(ctx)
	h, err := m.lock(ctx, c)
	if err != nil {
		err = fmt.Errorf("redlock: locking %q: %w", m.name, err)
		c.failed(err)
		return nil, err
	}
	return h, nil
}

// TryLock takes the lock if it is free, in one round trip to all nodes at once. If others
// have it, or are taking it, it returns a [*LockedError]. If too many nodes fail to answer
// within the node timeout, it returns a [*QuorumError]. Other than that it fails as Lock
// does.
func (m *Mutex) TryLock(ctx context.Context) (*Hold, error) {
	if err := m.check(ctx); err != nil {
		return nil, err
	}
	c, ctx := m.begin(ctx)
	h, err := m.try(ctx, c)
	c.failed(err)
	return h, err
}

func (m *Mutex) try(ctx context.Context, c *call) (*Hold, error) {
	h, r, err := m.attempt(ctx, c, m.cfg.timeout)
	switch {
	case err != nil:
		return nil, fmt.Errorf("redlock: trying to lock %q: %w", m.name, err)
	case h != nil:
		return h, nil
	}
	return nil, r.reason()
}

// Do calls fn with the lock held. fn's context is derived from ctx and ends with the hold.
// The lock is released when fn returns, and when it panics, before Do returns: even if ctx
// is done, within the grace period ([WithGrace]). If nodes do not answer, the release goes
// on in the background.
//
// Do returns fn's error, joined with [ErrLost] if the hold ended first, even if fn returned
// nil: whatever fn did after that was unprotected. If the lock could not be taken, fn is
// not called and Lock's error is returned.
func (m *Mutex) Do(ctx context.Context, fn func(ctx context.Context, h *Hold) error) error {
	if fn == nil {
		return errNilFunction
	}
	h, err := m.Lock(ctx)
	if err != nil {
		return err
	}
	return h.do(ctx, fn)
}

// TryDo is [Mutex.Do] with TryLock.
func (m *Mutex) TryDo(ctx context.Context, fn func(ctx context.Context, h *Hold) error) error {
	if fn == nil {
		return errNilFunction
	}
	h, err := m.TryLock(ctx)
	if err != nil {
		return err
	}
	return h.do(ctx, fn)
}

// check refuses what would panic later.
func (m *Mutex) check(ctx context.Context) error {
	switch {
	case m == nil || m.nodes == nil:
		return errNoMutex
	case ctx == nil:
		return errNilContext
	}
	return nil
}

// attempt asks every node once, on behalf of call by, and waits for each as long as timeout.
// It returns the hold, or the round that failed, if there was one.
func (m *Mutex) attempt(ctx context.Context, by *call, timeout time.Duration) (*Hold, *round, error) {
	if ctx.Err() != nil {
		return nil, nil, ended(ctx, nil)
	}
	if !m.nodes.beginOpen() {
		return nil, nil, ErrClosed
	}
	defer m.nodes.end()
	c := newClaim(m)
	r := c.acquire(ctx, timeout)
	err := r.wait(ctx)
	if err != nil {
		err = ended(ctx, r.state())
	}
	if err == nil && !r.granted() {
		c.abandon(ctx)
		return nil, r, nil
	}
	if err == nil && ctx.Err() != nil { // while it was granted
		err = ended(ctx, nil)
	}
	if err == nil {
		var h *Hold
		if h, err = newHold(ctx, c, r, by); err == nil {
			return h, nil, nil
		}
	}
	c.abandon(ctx)
	return nil, r, err
}

// validity is for how long a lock is valid from when its keys were set.
func (m *Mutex) validity() time.Duration { return m.cfg.ttl - m.nodes.cfg.allowance(m.cfg.ttl) }

// callTimeout is when a client that heeds contexts ends a call. That is later than anybody
// waits for it: to end it costs its connection, and the node may only be slow.
func (m *Mutex) callTimeout() time.Duration {
	return max(m.cfg.timeout, min(m.cfg.ttl/roundsPerTTL, maxCallTimeout))
}

// deadline is until when a lock is valid whose keys were set in round r.
func (m *Mutex) deadline(r *round) (clock.Instant, time.Time) {
	return r.start.Add(m.validity()), r.wall.Add(m.validity())
}

func checkName(name, prefix string) error {
	var why string
	switch {
	case name == "":
		why = "is empty"
	case len(name) > MaxName:
		why = fmt.Sprintf("has %d bytes", len(name))
	case !utf8.ValidString(name):
		why = "is not valid UTF-8"
	case strings.ContainsFunc(name, unicode.IsControl):
		why = "has a control character"
	case strings.Contains(prefix+name, "}") && !tagged(prefix+name):
		return fmt.Errorf("redlock: name %q: key %q has a closing brace, so it must have a hash tag like {tag}", name, prefix+name)
	default:
		return nil
	}
	return fmt.Errorf("redlock: name %.100q %s: must be valid UTF-8 of 1 to %d bytes without control characters", name, why, MaxName)
}

// tagged reports whether Redis Cluster takes a key's slot from a part of it.
func tagged(key string) bool {
	_, rest, open := strings.Cut(key, "{")
	return open && strings.Index(rest, "}") > 0
}
