package main

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/conclave-go/conclave/conclavegrpc"
	"github.com/conclave-go/conclave/examples/internal/cluster"
	"github.com/conclave-go/conclave/examples/internal/workers"
	"github.com/conclave-go/conclave/internal/process"
	"github.com/conclave-go/conclave/lease"
)

const (
	// serverRole is the role of the processes that this program starts.
	serverRole = "server"
	// callTakes is how long a server thinks about a call, so that some are under way
	// at any time.
	callTakes = 5 * time.Millisecond
	// drainGrace is for how long a server serves after it was taken out of the registry: a
	// good deal longer than a change takes to reach the clients.
	drainGrace = 300 * time.Millisecond
	// drainTimeout is after how long it stops although there are calls, or no etcd.
	drainTimeout = 10 * time.Second
	// closeTimeout bounds the rest of the end.
	closeTimeout = 2 * time.Second
)

// job is what a server is told to be.
type job struct {
	Name, Service string
	Zone, Version string
	TTL           time.Duration
	Etcd          cluster.Spec
}

// drain is the line that makes a server leave in good order.
const drain = "drain"

// kind says what an event is about.
type kind string

const (
	lost kind = "lost" // its lease has ended; Detail says why
	left kind = "left" // it has been drained; Calls came after it had asked for none
)

// event is what a server reports, as a line on its standard output.
type event struct {
	At     int64 // see [process.Now]
	Server string
	Kind   kind
	Detail string
	Calls  int64
}

// server answers calls.
type server struct {
	job   job
	drain chan struct{} // closed when it was told to drain
	once  sync.Once     // closes drain
	calls atomic.Int64
	line  *process.Line
}

// runServer is the program as a server.
func runServer(ctx context.Context, line *process.Line) error {
	s := &server{line: line, drain: make(chan struct{})}
	told := func(line string) {
		if line == drain {
			s.once.Do(func() { close(s.drain) })
		}
	}
	return line.Serve(ctx, &s.job, told, s.run)
}

// report writes an event, stamped with the time.
func (s *server) report(e event) {
	e.At, e.Server = process.Now(), s.job.Name
	s.line.Report(e)
}

// ask implements whoami.
func (s *server) ask(ctx context.Context) (string, error) {
	s.calls.Add(1)
	select {
	case <-time.After(callTakes):
		return s.job.Name, nil
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

// run listens, and registers what it listens on, until ctx ends.
func (s *server) run(ctx context.Context) (err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	g := grpc.NewServer()
	g.RegisterService(serviceDesc(), s)
	var serving sync.WaitGroup
	serving.Go(func() { _ = g.Serve(listener) }) // fails when it is stopped
	defer serving.Wait()
	defer g.Stop()

	client, err := s.job.Etcd.Dial()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	session, err := lease.NewSession(ctx, client, lease.WithTTL(s.job.TTL), lease.WithStateListener(s.leaseIs))
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		// What etcd does not hear of now, it finds out when the lease expires.
		_ = session.Close(ctx)
	}()
	return workers.UnlessDone(ctx, s.serve(ctx, g, session, listener.Addr().String()))
}

func (s *server) leaseIs(l *lease.Lease, state lease.State) {
	if state == lease.Lost {
		s.report(event{Kind: lost, Detail: l.Err().Error()})
	}
}

// serve registers once calls can be answered, and is there until ctx ends or it is
// drained. A lease that is lost meanwhile is no reason to do anything: the registration
// is put again under the next.
func (s *server) serve(ctx context.Context, g *grpc.Server, session *lease.Session, addr string) error {
	self := conclavegrpc.Endpoint{Addr: addr, Metadata: metadata{Zone: s.job.Zone, Version: s.job.Version}}
	r, err := conclavegrpc.Register(ctx, session, s.job.Service, s.job.Name, self, conclavegrpc.WithDrainGrace(drainGrace))
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return nil
	case <-s.drain:
	}
	before := s.calls.Load()
	limited, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	if err := r.Drain(limited, g); err != nil {
		return err
	}
	s.report(event{Kind: left, Calls: s.calls.Load() - before})
	<-ctx.Done()
	return nil
}
