package naming

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"github.com/conclave-go/conclave/internal/compare/perf"
	"github.com/conclave-go/conclave/internal/compare/works/pairs"
)

const (
	ttl = 3 * time.Second
	// idle is how long a client waits for a service before there is a server, calm how long
	// no call may have failed before the last is taken for the last.
	idle, calm = 20 * time.Millisecond, time.Second
	// between is the time between two calls, patience that for each of them.
	between, patience = 5 * time.Millisecond, 50 * time.Millisecond
	cleanUp           = 10 * time.Second
)

// Works returns the works.
func Works() []perf.Work {
	return []perf.Work{
		{
			Name: "grpc/registration", Title: "from the registration of a gRPC server to the first answer from it", On: perf.EtcdFast,
			Metrics: []perf.Metric{{Name: "first call", Unit: "ms", Stats: []perf.Stat{perf.P50, perf.P90}}},
			Rounds:  10, Quick: 1,
			Begin: begin(1, 1, func(ctx context.Context, l library, s pairs.Seat, name string) (perf.Samples, error) {
				return arrivals(ctx, l, s, name, 20)
			}),
		},
		{
			Name: "grpc/vanish", Title: "from when one of two gRPC servers vanishes to the last call that fails, with a TTL of 3 s", On: perf.EtcdFast,
			Metrics: []perf.Metric{{Name: "last failure", Unit: "ms", Stats: []perf.Stat{perf.P50, perf.P90}}},
			Rounds:  3, Quick: 1,
			Begin: begin(8, 2, loss),
		},
	}
}

// begin has each library do a round in several seats at once. The first client of a seat is
// the server's, the second that of those who call.
func begin(n, quick int, do func(ctx context.Context, l library, s pairs.Seat, name string) (perf.Samples, error)) func(context.Context, *perf.Env) ([]perf.Side, func() error, error) {
	return func(ctx context.Context, on *perf.Env) ([]perf.Side, func() error, error) {
		if on.Quick {
			n = quick
		}
		run := rand.Uint32()
		var sides []perf.Side
		for i, l := range libraries() {
			seats, err := pairs.Seats(ctx, on, n)
			if err != nil {
				return nil, nil, err
			}
			rounds := 0
			sides = append(sides, perf.Side{Name: l.name, Lacks: l.lacks, Round: func(ctx context.Context) (perf.Samples, error) {
				rounds++
				each := make([]perf.Samples, n)
				err := pairs.Each(ctx, seats, func(ctx context.Context, k int, s pairs.Seat) (err error) {
					each[k], err = do(ctx, l, s, fmt.Sprintf("naming-%08x-%d-%d-%d", run, i, rounds, k))
					return err
				})
				all := make(perf.Samples)
				for _, samples := range each {
					for metric, values := range samples {
						all[metric] = append(all[metric], values...)
					}
				}
				return all, err
			}})
		}
		return sides, func() error { return nil }, nil
	}
}

// scene is what a round has begun, the last of which is ended first.
type scene struct {
	enders []func(ctx context.Context) error
}

func (s *scene) atEnd(end func(ctx context.Context) error) { s.enders = append(s.enders, end) }

func (s *scene) end(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUp)
	defer cancel()
	var errs []error
	for _, end := range slices.Backward(s.enders) {
		errs = append(errs, end(ctx))
	}
	return errors.Join(errs...)
}

// server starts a server.
func (s *scene) server(ctx context.Context) (*server, error) {
	host, err := newServer(ctx)
	if err == nil {
		s.atEnd(func(context.Context) error { host.stop(); return nil })
	}
	return host, err
}

// dial connects a client with a service.
func (s *scene) dial(l library, seat pairs.Seat, service string) (*grpc.ClientConn, error) {
	builder, err := l.builder(seat.Second)
	if err != nil {
		return nil, err
	}
	conn, err := dial(builder, service)
	if err == nil {
		s.atEnd(func(context.Context) error { return conn.Close() })
	}
	return conn, err
}

// arrivals has a server register under one service after the other, for each of which a
// client waits already.
func arrivals(ctx context.Context, l library, seat pairs.Seat, name string, n int) (_ perf.Samples, err error) {
	var s scene
	defer func() { err = errors.Join(err, s.end(ctx)) }()
	host, err := s.server(ctx)
	if err != nil {
		return nil, err
	}
	lease, err := l.session(ctx, seat.First)
	if err != nil {
		return nil, err
	}
	s.atEnd(lease.close)
	var took []float64
	for i := range n {
		d, err := arrive(ctx, l, seat, lease, host, fmt.Sprintf("%s-%d", name, i))
		if err != nil {
			return nil, err
		}
		took = append(took, pairs.Millis(d))
	}
	return perf.Samples{"first call": took}, nil
}

// arrive measures how long it takes from a registration to the first answer.
func arrive(ctx context.Context, l library, seat pairs.Seat, lease session, host *server, service string) (_ time.Duration, err error) {
	var s scene
	defer func() { err = errors.Join(err, s.end(ctx)) }()
	conn, err := s.dial(l, seat, service)
	if err != nil {
		return 0, err
	}
	answered := make(chan error, 1)
	var at time.Time
	go func() {
		err := call(ctx, conn, cleanUp)
		at = time.Now()
		answered <- err
	}()
	s.atEnd(func(context.Context) error { return <-answered })
	if err := pairs.Pause(ctx, idle); err != nil {
		return 0, err
	}
	began := time.Now()
	leave, err := lease.register(ctx, service, "a", host.addr)
	if err != nil {
		return 0, err
	}
	s.atEnd(leave)
	err = <-answered
	answered <- nil
	return at.Sub(began), err
}

// loss has one of two servers vanish, with its connection to etcd, and measures until when
// calls fail.
func loss(ctx context.Context, l library, seat pairs.Seat, name string) (_ perf.Samples, err error) {
	var s scene
	defer func() { err = errors.Join(err, s.end(ctx)) }()
	var hosts []*server
	for i, client := range []*clientv3.Client{seat.First, seat.Second} {
		host, err := s.server(ctx)
		if err != nil {
			return nil, err
		}
		hosts = append(hosts, host)
		lease, err := l.session(ctx, client)
		if err != nil {
			return nil, err
		}
		s.atEnd(lease.close)
		if _, err := lease.register(ctx, name, fmt.Sprint(i), host.addr); err != nil {
			return nil, err
		}
	}
	conn, err := s.dial(l, seat, name)
	if err != nil {
		return nil, err
	}
	if err := pairs.Pause(ctx, ttl/3+rand.N(ttl/3)); err != nil { // both are known, and at any moment between two renewals
		return nil, err
	}
	s.atEnd(func(context.Context) error { seat.Mend(); return nil })
	began := time.Now()
	hosts[0].vanish()
	seat.Cut()
	last, err := lastFailure(ctx, conn)
	return perf.Samples{"last failure": {pairs.Millis(last.Sub(began))}}, err
}

// lastFailure calls a service until no call has failed for a while after one has.
func lastFailure(ctx context.Context, conn *grpc.ClientConn) (last time.Time, err error) {
	for last.IsZero() || time.Since(last) < calm {
		if call(ctx, conn, patience) != nil {
			last = time.Now()
		}
		if err := pairs.Pause(ctx, between); err != nil {
			return last, err
		}
	}
	return last, nil
}
