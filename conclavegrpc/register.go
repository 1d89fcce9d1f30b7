package conclavegrpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	healthgrpc "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/conclave-go/conclave/lease"
)

// DefaultDrainGrace is much longer than a change takes to reach the clients.
const DefaultDrainGrace = time.Second

// RegisterOption configures [Register].
type RegisterOption interface {
	applyRegister(c *registerConfig) error
}

type registerConfig struct {
	grace    time.Duration
	health   healthgrpc.HealthServer
	service  string
	takeover bool
	log      *slog.Logger
}

type registerOption func(c *registerConfig) error

func (o registerOption) applyRegister(c *registerConfig) error { return o(c) }

// WithDrainGrace sets how long [Registration.Drain] lets the server serve after its address
// was removed from the registry, 0 or more, [DefaultDrainGrace] by default: clients that
// have not heard of it yet still call.
func WithDrainGrace(d time.Duration) RegisterOption {
	return registerOption(func(c *registerConfig) error {
		if d < 0 {
			return fmt.Errorf("drain grace %v: must not be negative", d)
		}
		c.grace = d
		return nil
	})
}

// WithHealth keeps the address in the registry only while the health server says that the
// service, "" for the whole server, is SERVING. Register then returns at once, whatever the
// health is. An address that cannot be put, because the key of an instance that was killed is still
// there for instance, is tried again after a pause of up to ten seconds; [Registration.Err] says why, and
// so does the log, see [WithLogger]. It is usually a [google.golang.org/grpc/health.Server].
func WithHealth(server healthgrpc.HealthServer, service string) RegisterOption {
	return registerOption(func(c *registerConfig) error {
		if server == nil {
			return errors.New("health server is nil: leave the option out to register regardless of health")
		}
		c.health, c.service = server, service
		return nil
	})
}

// WithTakeover makes Register overwrite a key that exists under another lease, see
// [lease.WithTakeover]. That holds until the key is in place for the first time: with [WithHealth], an instance that
// another has replaced meanwhile waits for that one's key to go when it serves again.
func WithTakeover() RegisterOption {
	return registerOption(func(c *registerConfig) error {
		c.takeover = true
		return nil
	})
}

// Register puts the endpoint of an instance into the registry, as the key
// "service/instance", and keeps it there until Close or Drain: again after a lost lease,
// and after somebody deletes it. Call it when the server listens.
//
// Its errors are those of [lease.Register], and those of bad input. When it fails, the
// address is not kept in the registry; if that is because ctx has ended, it may have been put, and is
// removed in the background: the registration is returned beside the error, for Close to wait for that.
func Register(ctx context.Context, s *lease.Session, service, instance string, e Endpoint, opts ...RegisterOption) (*Registration, error) {
	if s == nil || s.Client() == nil {
		return nil, errors.New("conclavegrpc: session is nil or zero: must come from lease.NewSession")
	}
	c := registerConfig{grace: DefaultDrainGrace, log: slog.New(slog.DiscardHandler)}
	for _, o := range opts {
		if o == nil {
			return nil, errors.New("conclavegrpc: option is nil: must come from one of the With functions")
		}
		if err := o.applyRegister(&c); err != nil {
			return nil, fmt.Errorf("conclavegrpc: %w", err)
		}
	}
	keys, err := prefix(service)
	if err != nil {
		return nil, err
	}
	if instance == "" {
		return nil, errors.New("conclavegrpc: instance is empty: must distinguish the server from others of its service")
	}
	value, err := e.encode()
	if err != nil {
		return nil, err
	}
	r := &Registration{session: s, cfg: c, key: keys + instance, takeover: c.takeover, value: value}
	return r, r.open(ctx)
}

// Stopper is a [google.golang.org/grpc.Server].
type Stopper interface {
	GracefulStop()
	Stop()
}

// Drain ends a server in good order: it takes the address out of the registry, for
// [lease.DefaultGrace] at most, then lets the server serve for the grace, so that clients hear of
// it, and then waits for the calls under way. When ctx ends first the server is stopped at once, and ctx's error returned.
// An etcd that does not answer holds it up for [lease.DefaultGrace], and an error with the key
// is returned in the end: the address is still in the registry, and goes with the session's
// lease if not before.
//
// After a signal ctx is often already done: use [context.WithTimeout] on
// [context.WithoutCancel].
func (r *Registration) Drain(ctx context.Context, server Stopper) error {
	removal, giveUp := context.WithCancel(ctx)
	defer giveUp()
	removed := make(chan struct{})
	var err error
	go func() { // ends with removal and the session's grace, which nobody waits for
		defer close(removed)
		err = r.Close(removal)
	}()
	patience, end := context.WithTimeout(context.WithoutCancel(ctx), lease.DefaultGrace)
	defer end()
	select {
	case <-removed:
	case <-patience.Done():
	case <-ctx.Done():
	}
	select {
	case <-time.After(r.cfg.grace):
	case <-ctx.Done():
	}
	stop := context.AfterFunc(ctx, server.Stop) // which ends GracefulStop
	server.GracefulStop()
	served := stop()
	if !served { // the removal goes on for the session's grace
		var end context.CancelFunc
		patience, end = context.WithTimeout(context.WithoutCancel(ctx), lease.DefaultGrace)
		defer end()
	}
	select {
	case <-removed:
	case <-patience.Done():
	}
	var cause error
	if !served {
		cause = context.Cause(ctx)
	}
	select {
	case <-removed:
		return errors.Join(cause, err)
	default:
		return errors.Join(cause, fmt.Errorf("%w: key %q", errUnconfirmed, r.key))
	}
}

// errUnconfirmed is why Drain does not wait any longer.
var errUnconfirmed = errors.New("conclavegrpc: the server has stopped, and etcd has not confirmed that its address is out of the registry")
