package election

import (
	"context"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/queue"
	"github.com/conclave-go/conclave/lease"
)

// ReadOption configures [Current], [Candidates] and [Observe].
type ReadOption interface{ applyRead(*config) error }

// LayoutOption is an option of elections as well as of the functions that read them.
type LayoutOption interface {
	Option
	ReadOption
}

type layoutOption struct{}

func (layoutOption) apply(c *config) error {
	c.layout = true
	return nil
}

func (o layoutOption) applyRead(c *config) error { return o.apply(c) }

// WithEtcdLayout puts keys and values where clientv3/concurrency and etcdctl elect put
// theirs, directly under the name and a slash, so that candidates and observers of both
// can take part in one election while a fleet migrates. All users of the name must agree on
// the layout.
//
// In it any name that the other library takes will do, byte for byte: even an empty one,
// one that ends with a slash, or any other bytes. A value is stored unchanged, up to
// [MaxEtcdValue] bytes, without owner and age, so [Leader] and [Candidate] do not have
// them. As in that library, an election "a" also counts the candidates of an election
// "a/b".
//
// The other library's candidates do not notice when their key is deleted, so
// [Term.Transfer] removes nobody else in this layout: it refuses unless the candidate is
// the next. And if anything else uses the session's lease, for example with that library's
// WithLease, it must not stand in the same election with the same value: after a lost reply
// nothing tells the two apart.
func WithEtcdLayout() LayoutOption { return layoutOption{} }

type headerOption struct{ h *lease.Header }

func (o headerOption) applyRead(c *config) error {
	if o.h == nil {
		return errors.New("election: header is nil: must be a place to put it")
	}
	c.header = o.h
	return nil
}

// WithHeader sets h to the header of etcd's answer to a read by [Current] or [Candidates]
// that has succeeded. [Observe] leaves it alone.
func WithHeader(h *lease.Header) ReadOption { return headerOption{h} }

// target is what is to be read.
type target struct {
	place
	header *lease.Header // where to put that of the answer, nil for nowhere
}

func (t target) note(h lease.Header) {
	if t.header != nil {
		*t.header = h
	}
}

// readConfig checks what is asked about an election and returns what to read.
func readConfig(ctx context.Context, client *clientv3.Client, name string, opts []ReadOption) (target, error) {
	var c config
	errs := []error{checkContext(ctx)}
	if client == nil {
		errs = append(errs, errors.New("election: client is nil: must be a connected *clientv3.Client"))
	}
	for _, o := range opts {
		if o == nil {
			errs = append(errs, errors.New("election: read option is nil: must come from one of the With functions"))
			continue
		}
		errs = append(errs, o.applyRead(&c))
	}
	return target{c.place(name), c.header}, errors.Join(append(errs, c.checkName(name))...)
}

// place is where the candidates of an election are in etcd.
type place struct {
	// prefix is what their keys begin with.
	prefix string
	// raw is set if values are those of candidates and nothing else.
	raw bool
}

// place returns where the candidates of the election are.
func (c config) place(name string) place {
	if c.layout {
		return place{name + "/", true}
	}
	return place{queue.Prefix(name, kind), false}
}

// same reports whether an observer that was told of a is not told of b.
func (p place) same(a, b Leader) bool {
	if !p.raw {
		a.ModRevision, a.Version = b.ModRevision, b.Version
	}
	return a == b
}

// record returns what a candidate says about itself.
func (p place) record(o queue.Occupant) queue.Record {
	if p.raw {
		return queue.Record{Value: o.Content}
	}
	return o.Record
}

func (c config) checkName(name string) error {
	if c.layout {
		return nil
	}
	if err := queue.CheckName(name); err != nil {
		return fmt.Errorf("election: %w", err)
	}
	return nil
}
