package conclavegrpc

import (
	"context"
	"errors"
	"sync"

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

	mu     sync.Mutex
	value  string
	closed bool
	// kept is nil while the address is not to be in the registry, err being why.
	kept *lease.Registration
	err  error
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

// mind puts and removes the address as the health says, until the statuses end.
func (r *Registration) mind(ctx context.Context, statuses <-chan healthgrpc.HealthCheckResponse_ServingStatus) {
	for status := range statuses {
		if status == healthgrpc.HealthCheckResponse_SERVING {
			r.note(r.put(ctx))
		} else {
			r.note(errors.Join(ErrNotServing, r.remove(ctx)))
		}
	}
}

func (r *Registration) note(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
}

// put registers the address if it is not.
func (r *Registration) put(ctx context.Context) error {
	r.mu.Lock()
	kept, value := r.kept, r.value
	r.mu.Unlock()
	if kept != nil {
		return nil
	}
	kept, err := lease.Register(ctx, r.session, r.key, value, r.cfg.lease...)
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.kept = kept
	newer := r.value
	r.mu.Unlock()
	if newer != value {
		return kept.Update(ctx, newer)
	}
	return nil
}

// remove takes the address out of the registry if it is there.
func (r *Registration) remove(ctx context.Context) error {
	r.mu.Lock()
	kept := r.kept
	r.kept = nil
	r.mu.Unlock()
	if kept == nil {
		return nil
	}
	return kept.Close(ctx)
}

// Update changes the endpoint. It returns once etcd has it; when ctx ends first it stays
// wanted. While the server is not serving it is put when it is again.
func (r *Registration) Update(ctx context.Context, e Endpoint) error {
	value, err := e.encode()
	if err != nil {
		return err
	}
	r.mu.Lock()
	kept := r.kept
	r.value = value
	if r.closed {
		r.mu.Unlock()
		return lease.ErrClosed
	}
	r.mu.Unlock()
	if kept == nil {
		return nil
	}
	return kept.Update(ctx, value)
}

// Err returns nil while the address is in the registry as far as is known, and else why
// not: [ErrNotServing], or what [lease.Registration.Err] says.
func (r *Registration) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.kept != nil {
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
	r.closed, r.err = true, lease.ErrClosed
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
