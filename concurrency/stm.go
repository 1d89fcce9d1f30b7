package concurrency

import (
	"context"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// STM is one attempt of a transaction, as the function given to [NewSTM] sees it. Its
// methods are for the goroutine that runs the function, while it runs.
type STM interface {
	// Get returns the value of the first key, empty if it does not exist: what this
	// transaction has put, or otherwise what is in the store. It reads all keys that it has
	// not read before in one request. If that fails, the transaction fails, and Get does
	// not return.
	Get(key ...string) string
	// Put puts a key when the transaction commits.
	Put(key, val string, opts ...clientv3.OpOption)
	// Rev returns the revision at which a key was last modified, 0 if it does not exist.
	Rev(key string) int64
	// Del deletes a key when the transaction commits.
	Del(key string)

	attempt() *attempt
}

// Isolation says what a transaction may see of others.
type Isolation int

const (
	// SerializableSnapshot is [Serializable], and the transaction also fails to commit,
	// and is tried again, if a key that it puts or deletes was modified since its first
	// read. It is the default.
	SerializableSnapshot Isolation = iota
	// Serializable reads are all from the revision of the first, and the transaction
	// commits only if nothing that it has read was modified since.
	Serializable
	// RepeatableReads are each from a revision that the member asked has reached, the same
	// for the same key, and the transaction commits only if nothing that it has read was
	// modified since.
	RepeatableReads
	// ReadCommitted reads are each from a revision that the member asked has reached, and
	// nothing is checked.
	ReadCommitted
)

// snapshot reports whether all reads are of one revision.
func (i Isolation) snapshot() bool { return i == SerializableSnapshot || i == Serializable }

// STMOption configures [NewSTM].
type STMOption func(*stmOptions)

type stmOptions struct {
	iso      Isolation
	ctx      context.Context
	prefetch []string
}

// WithIsolation sets the isolation, [SerializableSnapshot] by default.
func WithIsolation(lvl Isolation) STMOption { return func(o *stmOptions) { o.iso = lvl } }

// WithAbortContext sets the context that ends the transaction, instead of the client's.
func WithAbortContext(ctx context.Context) STMOption { return func(o *stmOptions) { o.ctx = ctx } }

// WithPrefetch reads keys before each attempt, in one request, so that Get of any of them
// needs none.
func WithPrefetch(keys ...string) STMOption {
	return func(o *stmOptions) { o.prefetch = append(o.prefetch, keys...) }
}

// NewSTM runs a transaction: it calls apply, which reads and notes what should be written,
// and commits that if what apply has read still holds, according to the isolation. If it
// does not, apply is called again with the current state, so it must have no other effect.
//
// It returns the response to the commit, or apply's error, in which case nothing is
// written, or that of a request. A commit that fails without an answer may have taken
// effect: the response has no room for that, and the transaction is not repeated.
//
// It waits for a server that does not answer, or knows no leader, until the context ends: the client's, or
// that of [WithAbortContext]. The client's log then has a warning with the endpoints, and with the error of an
// attempt that has failed; the error of NewSTM is the context's own. A commit that writes is sent again only if it
// was refused for lack of a leader; without an answer it waits for that one server until the context ends.
//
// apply runs on the caller's goroutine, so its panics are the caller's.
func NewSTM(c *clientv3.Client, apply func(STM) error, so ...STMOption) (*clientv3.TxnResponse, error) {
	if c == nil {
		return nil, errors.New("concurrency: client is nil: must be a connected *clientv3.Client")
	}
	//nolint:forbidigo // as in the other library
	o := stmOptions{ctx: c.Ctx()}
	for _, opt := range so {
		opt(&o)
	}
	switch {
	case apply == nil:
		return nil, errors.New("concurrency: apply is nil: must be a function")
	case o.ctx == nil:
		return nil, errNilContext
	case o.iso < SerializableSnapshot || o.iso > ReadCommitted:
		return nil, fmt.Errorf("concurrency: isolation %d: must be one from SerializableSnapshot to ReadCommitted", int(o.iso))
	}
	a := newAttempt(c, o)
	// At once: with a pause sixteen clients that conflict took three times as long.
	for {
		resp, again, err := a.run(apply)
		if !again {
			return resp, err
		}
	}
}

// NewSTMRepeatable is NewSTM with [RepeatableReads].
//
// Deprecated: use NewSTM, with options.
func NewSTMRepeatable(ctx context.Context, c *clientv3.Client, apply func(STM) error) (*clientv3.TxnResponse, error) {
	return NewSTM(c, apply, WithAbortContext(ctx), WithIsolation(RepeatableReads))
}

// NewSTMSerializable is NewSTM with [Serializable].
//
// Deprecated: use NewSTM, with options.
func NewSTMSerializable(ctx context.Context, c *clientv3.Client, apply func(STM) error) (*clientv3.TxnResponse, error) {
	return NewSTM(c, apply, WithAbortContext(ctx), WithIsolation(Serializable))
}

// NewSTMReadCommitted is NewSTM with [ReadCommitted].
//
// Deprecated: use NewSTM, with options.
func NewSTMReadCommitted(ctx context.Context, c *clientv3.Client, apply func(STM) error) (*clientv3.TxnResponse, error) {
	return NewSTM(c, apply, WithAbortContext(ctx), WithIsolation(ReadCommitted))
}
