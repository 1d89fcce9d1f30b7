package conclavegrpc

import (
	"context"
	"errors"
	"sync"
	"time"

	"google.golang.org/grpc"
	healthgrpc "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/conclave-go/conclave/lease"
)

// ErrNotServing is the error of a registration that waits for its server's health, see
// [WithHealth].
var ErrNotServing = errors.New("conclavegrpc: not registered: the server is not serving")

// Registration is an address in the registry, see [Register].
type Registration struct {
	session *lease.Session
	cfg     registerConfig
	key     string
	cancel  context.CancelFunc
	minding sync.WaitGroup // of the health; ends after cancel

	mu       sync.Mutex
	takeover bool // until first in place: whoever loses the key to another does not take it back
	value    string
	// err is why the address is not in the registry. It is nil if it is, as far as kept knows.
	err error
	// kept is nil while the address is not in the registry; until its removal is confirmed it is leaving.
	kept    *lease.Registration
	leaving bool
	given   string // the endpoint that kept was given last
}

// open registers, or begins to mind the health.
func (r *Registration) open(ctx context.Context) error {
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r.cancel = cancel
	if r.cfg.health == nil {
		err := r.put(ctx)
		if err != nil {
			cancel()
		}
		return err
	}
	r.err = ErrNotServing
	statuses := &statuses{ctx: life, changed: make(chan healthgrpc.HealthCheckResponse_ServingStatus, 1)}
	r.minding.Go(func() {
		defer close(statuses.changed)
		// It ends with life; a health server that fails says nothing any more.
		_ = r.cfg.health.Watch(&healthgrpc.HealthCheckRequest{Service: r.cfg.service}, statuses)
	})
	r.minding.Go(func() { r.mind(life, statuses.changed) })
	return nil
}

// mind puts and removes the address as the health says, and tries again when that fails, until ctx ends.
func (r *Registration) mind(ctx context.Context, statuses <-chan healthgrpc.HealthCheckResponse_ServingStatus) {
	serving, pause := false, firstPause
	var again <-chan time.Time
	for {
		select {
		case status, more := <-statuses:
			if !more { // the health server says nothing any more
				statuses = nil
				continue
			}
			serving, pause = status == healthgrpc.HealthCheckResponse_SERVING, firstPause
		case <-again:
		case <-ctx.Done():
			return
		}
		again = nil
		if !r.settle(ctx, serving) {
			again = time.After(pause)
			pause = min(2*pause, maxPause)
		}
	}
}

// settle puts the address or removes it, and reports whether it is done.
func (r *Registration) settle(ctx context.Context, serving bool) bool { //nolint:revive // it is what the health says
	if serving {
		return r.note(ctx, r.put(ctx))
	}
	_ = r.note(ctx, ErrNotServing)
	return r.remove(ctx) == nil
}

// note notes why the address is not in the registry, and reports whether it is. What is not of the server's own
// doing is logged, once.
func (r *Registration) note(ctx context.Context, err error) (registered bool) {
	r.mu.Lock()
	before := r.err
	r.err = err
	r.mu.Unlock()
	if err != nil && !errors.Is(err, ErrNotServing) && ctx.Err() == nil && (before == nil || before.Error() != err.Error()) {
		r.cfg.log.Warn("conclavegrpc: address could not be registered; trying again", "key", r.key, "error", err)
	}
	return err == nil
}

// put registers the address if it is not, with the newest endpoint. One that is still being removed is waited for first.
func (r *Registration) put(ctx context.Context) error {
	r.mu.Lock()
	kept, leaving, value := r.kept, r.leaving, r.given
	r.mu.Unlock()
	if leaving {
		if err := r.remove(ctx); err != nil {
			return err
		}
		kept = nil
	}
	var err error
	if kept == nil {
		if kept, value, err = r.register(ctx); err != nil {
			return err
		}
	}
	// As long as kept is not known, Update leaves a newer endpoint to this: an older one cannot overtake it.
	for err == nil && !r.keep(kept, &value) {
		err = kept.Update(ctx, value)
	}
	if err != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.kept, r.given = kept, value
	}
	return err
}

// register registers the address with the endpoint that it returns. When ctx ends first, what
// may have been put is leaving.
func (r *Registration) register(ctx context.Context) (kept *lease.Registration, value string, err error) {
	r.mu.Lock()
	value = r.value
	var opts []lease.RegisterOption
	if r.takeover {
		opts = append(opts, lease.WithTakeover())
	}
	r.mu.Unlock()
	kept, err = lease.Register(ctx, r.session, r.key, value, opts...)
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err == nil:
		r.takeover = false
	case ctx.Err() != nil && kept != nil:
		r.kept, r.leaving = kept, true
	}
	return kept, value, err
}

// keep makes kept known if it has the newest endpoint, and else puts that into value.
func (r *Registration) keep(kept *lease.Registration, value *string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.value != *value {
		*value = r.value
		return false
	}
	r.kept, r.given = kept, *value
	return true
}

// remove takes the address out of the registry if it is there. When ctx ends first it goes on, and can be waited for
// again.
func (r *Registration) remove(ctx context.Context) error {
	r.mu.Lock()
	kept := r.kept
	r.leaving = kept != nil
	r.mu.Unlock()
	if kept == nil {
		return nil
	}
	if err := kept.Close(ctx); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kept, r.leaving = nil, false
	return nil
}

// Update changes the endpoint. It returns once etcd has it; when ctx ends first it stays
// wanted. While the server is not serving it is put when it is again; while the address
// cannot be put, Update returns why, as [Registration.Err] does, and the endpoint stays wanted.
func (r *Registration) Update(ctx context.Context, e Endpoint) error {
	value, err := e.encode()
	if err != nil {
		return err
	}
	r.mu.Lock()
	kept, err := r.kept, r.err
	r.value = value
	if r.leaving {
		kept = nil
	}
	if kept != nil {
		r.given = value
	}
	r.mu.Unlock()
	switch {
	case kept != nil && !errors.Is(err, lease.ErrClosed):
		return kept.Update(ctx, value)
	case errors.Is(err, ErrNotServing):
		return nil
	default:
		return err
	}
}

// Err returns nil while the address is in the registry as far as is known, and otherwise
// why not: [ErrNotServing], or what [lease.Registration.Err] says.
func (r *Registration) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.kept != nil && r.err == nil {
		return r.kept.Err()
	}
	return r.err
}

// Close takes the address out of the registry. ctx bounds only the wait, see
// [lease.Registration.Close]. It may be called again.
func (r *Registration) Close(ctx context.Context) error {
	r.cancel()
	r.minding.Wait()
	r.mu.Lock()
	r.err = lease.ErrClosed
	r.mu.Unlock()
	return r.remove(ctx)
}

// statuses is the stream of a health server's Watch in the same process. It keeps the
// last status until it is taken.
type statuses struct {
	grpc.ServerStream // for the methods that Watch does not call
	ctx               context.Context
	changed           chan healthgrpc.HealthCheckResponse_ServingStatus
}

// Context implements [grpc.ServerStream].
func (s *statuses) Context() context.Context { return s.ctx }

// Send implements the stream of Watch.
func (s *statuses) Send(resp *healthgrpc.HealthCheckResponse) error {
	select {
	case <-s.changed: // nobody has taken it, and it is over
	default:
	}
	s.changed <- resp.GetStatus() // only Send sends
	return nil
}
