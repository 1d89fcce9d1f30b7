package lease

import (
	"context"
	"errors"
	"fmt"

	"github.com/conclave-go/conclave/internal/attempt"
	"github.com/conclave-go/conclave/internal/look"
)

// RegisterOption configures [Register].
type RegisterOption interface{ applyRegister(*Registration) }

type takeover struct{}

func (takeover) applyRegister(r *Registration) { r.takeover = true }

// WithTakeover makes [Register] overwrite a key that exists under another lease or
// none, instead of failing with [TakenError]. The registration that had it reports
// the loss; it does not take the key back.
func WithTakeover() RegisterOption { return takeover{} }

// Registration is a key that lives as long as the process, see [Register].
type Registration struct {
	reg      *registrar
	key      string
	takeover bool // until first in place

	// The fields below are protected by the registrar's mu.

	want    string
	placed  string // the last value that was put, and its version
	rank    int
	version int // counts what is wanted: the value, or the key's removal
	tried   int // the version the registrar has last dealt with
	closing bool
	err     error // why version tried is not in place
	// large is why the versions after one and up to another were not taken: the value of the
	// last is too large. The old one stays.
	large              error
	largeFrom, largeTo int

	lease     *Lease  // the one it was last put under
	own       []int64 // leases it may have been put under
	expect    int64   // mod revision the next write requires, 0: absent
	under     *Lease  // the last of own
	seen      int64   // mod revision it was last seen at, 0: absent
	puts      *puts   // under that lease
	reclaimed bool    // something of an earlier registration may be under the key, which a look may remove
	doubts    []doubt // what may still come under leases before the last
	item      *look.Item
	changed   chan struct{} // closed and replaced when the registrar has dealt with it
}

// puts are the creating writes under one lease, which may take effect late. A registration
// that takes the place of another has them in common with it. The registrar's mu protects them.
type puts struct {
	unsettled int      // without a reply
	values    []string // of these
	// applied is set if one was answered so, until its revision is known.
	applied bool
}

// doubt is what creating writes under a lease may still bring that has been left.
type doubt struct {
	lease *Lease
	*puts
}

// Register puts key with value under the session's lease and keeps it there: it is
// put again under a new lease after a loss, and again after somebody deletes it
// (noticed by the lease's next look, within a third of a TTL). Register returns
// once the key is in place: one write.
//
// It returns a [*TakenError] if the key exists under another lease, unless [WithTakeover]
// is given. What the server refuses (permission, credentials, size) fails at once; once the
// key has been in place, a refusal is logged and the key put when the server allows it
// again. If it fails, or ctx ends first, the key is not kept, and is removed in the background
// if it was put after all: once there was a request, the registration is returned beside the
// error, for Close to wait for that.
func Register(ctx context.Context, s *Session, key, value string, opts ...RegisterOption) (*Registration, error) {
	if s == nil {
		return nil, errors.New("lease: session is nil: must come from NewSession")
	}
	if key == "" {
		return nil, errors.New("lease: key is empty: must be at least one byte")
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("lease: registering %q: %w", key, attempt.Ended(ctx, nil))
	}
	r := &Registration{reg: s.reg, key: key, want: value, version: 1, puts: new(puts), changed: make(chan struct{})}
	for _, o := range opts {
		if o == nil {
			return nil, errors.New("lease: register option is nil: must come from one of the With functions")
		}
		o.applyRegister(r)
	}
	if err := s.reg.add(r); err != nil {
		return nil, err
	}
	if err := r.await(ctx, 1); err != nil {
		s.reg.remove(r) // not waited for
		return r, within(fmt.Sprintf("registering %q", key), err)
	}
	return r, nil
}

// Update changes the value, in one write. If it fails or ctx ends first, the new value is
// still wanted, and is put as soon as it can be. But if it is refused because it is too
// large, the old value stays in place, and Err returns nil.
func (r *Registration) Update(ctx context.Context, value string) error {
	if ctx.Err() != nil {
		return fmt.Errorf("lease: updating %q: %w", r.key, attempt.Ended(ctx, nil))
	}
	version, err := r.reg.update(r, value)
	if err == nil {
		err = r.await(ctx, version)
	}
	if err != nil {
		return within(fmt.Sprintf("updating %q", r.key), err)
	}
	return nil
}

// Err returns nil while the key is in place as far as is known, and otherwise why it is
// not: the loss of the lease, a [*TakenError] while somebody else has the key, the server's
// refusal, or [ErrClosed].
func (r *Registration) Err() error {
	r.reg.mu.Lock()
	closing, err, l := r.closing, r.err, r.lease
	r.reg.mu.Unlock()
	switch {
	case closing:
		return ErrClosed
	case err != nil || l == nil:
		return err
	default:
		return l.Err()
	}
}

// Close removes the key, unless somebody else has put it since, in one write. ctx bounds
// only the wait, which goes on after its end for the grace of [WithGrace], or until it turns
// out that the server cannot be reached. After that Close returns ctx's error, and the removal
// goes on in the background while the session lives, or happens with the end of the session's
// lease.
// Close may be called again, even after the session's.
func (r *Registration) Close(ctx context.Context) error {
	wait, cancel := graced(ctx, r.reg.session.cfg.grace)
	defer cancel()
	wait, end := whileReachable(ctx, wait, r.reg.session.client)
	defer end()
	err := r.await(wait, r.reg.remove(r))
	if err != nil && !errors.Is(err, ErrClosed) {
		return within(fmt.Sprintf("closing %q", r.key), err)
	}
	return nil
}

// await waits until the registrar has dealt with the version, and returns its
// verdict, which is [ErrClosed] if the removal overtook it.
func (r *Registration) await(ctx context.Context, version int) error {
	for {
		r.reg.mu.Lock()
		tried, err, changed := r.tried, r.err, r.changed
		if r.large != nil && r.largeFrom < version && version <= r.largeTo {
			err = r.large
		}
		if r.closing && version < r.version {
			err, tried = ErrClosed, r.version
		}
		r.reg.mu.Unlock()
		if tried >= version {
			return err
		}
		select {
		case <-changed:
		case <-r.reg.session.ctx.Done():
			return context.Cause(r.reg.session.ctx)
		case <-ctx.Done():
			if err == nil {
				err = r.reg.session.cfg.caller.Trouble()
			}
			return attempt.Ended(ctx, err)
		}
	}
}
