package worker

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/conclave-go/conclave/internal/chaos/history"
	"github.com/conclave-go/conclave/lock"
)

// Request is what the resource is asked for.
type Request struct {
	Lock   string      `json:"lock"`
	Worker string      `json:"worker"`
	Write  bool        `json:"write,omitempty"`
	Way    history.Way `json:"way"`
	Hold   string      `json:"hold"`
	Token  int64       `json:"token,omitempty"`
	Value  int64       `json:"value,omitempty"`
	// Found is what the writer had read, which the resource only notes.
	Found int64 `json:"found,omitempty"`
}

// Response is what it answers.
type Response struct {
	OK    bool  `json:"ok"`
	Value int64 `json:"value"`
}

// Resource is the registers that locks protect, one of each way for each lock. It does
// what it is asked to; only the fenced one looks at tokens. Use NewResource.
type Resource struct {
	now  func() int64
	emit func(history.Event)

	mu     sync.Mutex
	values map[string]int64 // by lock and way
	fences map[string]*lock.Fence
}

// NewResource returns a resource of registers that are 0. Its verdicts go to emit, in
// order.
func NewResource(now func() int64, emit func(history.Event)) *Resource {
	return &Resource{now: now, emit: emit, values: make(map[string]int64), fences: make(map[string]*lock.Fence)}
}

// Do carries out a request.
func (r *Resource) Do(q Request) Response {
	r.mu.Lock()
	defer r.mu.Unlock()
	register := q.Lock + " " + string(q.Way)
	was, ok := r.values[register], true
	if q.Way == history.Fenced {
		ok = r.fence(q.Lock).Check(lock.Token(q.Token)) == nil
	}
	if !q.Write {
		return Response{OK: ok, Value: was}
	}
	if ok {
		r.values[register] = q.Value
	}
	r.emit(history.Event{
		At: r.now(), Kind: history.Judged, Lock: q.Lock, Worker: q.Worker, Way: q.Way,
		Hold: q.Hold, Token: q.Token, Value: q.Value, Found: q.Found, Was: was, OK: ok,
	})
	return Response{OK: ok, Value: r.values[register]}
}

// fence returns the fence of a lock. mu must be held.
func (r *Resource) fence(name string) *lock.Fence {
	f := r.fences[name]
	if f == nil {
		f = &lock.Fence{}
		r.fences[name] = f
	}
	return f
}

// Serve answers the requests on all connections until the listener is closed.
func (r *Resource) Serve(l net.Listener) error {
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("resource: %w", err)
		}
		go r.serve(conn) // ends with the connection, at the latest with the process
	}
}

func (r *Resource) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	in, out := json.NewDecoder(bufio.NewReader(conn)), json.NewEncoder(conn)
	for {
		var q Request
		if err := in.Decode(&q); err != nil {
			return
		}
		if err := out.Encode(r.Do(q)); err != nil {
			return
		}
	}
}

// Client is a worker's way to the resource.
type Client struct {
	lock, worker string
	do           func(ctx context.Context, q Request) (Response, error)
	close        func() error
}

// Close ends the connection.
func (c *Client) Close() error { return c.close() }

// Local returns a client of a resource in the same process.
func Local(r *Resource, lock, worker string) *Client {
	return &Client{
		lock: lock, worker: worker, close: func() error { return nil },
		do: func(_ context.Context, q Request) (Response, error) { return r.Do(q), nil },
	}
}

// DialResource returns a client over TCP, whose requests wait for each other.
func DialResource(ctx context.Context, addr, lock, worker string) (*Client, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("resource: %w", err)
	}
	var mu sync.Mutex
	in, out := json.NewDecoder(bufio.NewReader(conn)), json.NewEncoder(conn)
	do := func(_ context.Context, q Request) (resp Response, err error) {
		mu.Lock()
		defer mu.Unlock()
		if err := out.Encode(q); err != nil {
			return resp, fmt.Errorf("resource: %w", err)
		}
		if err := in.Decode(&resp); err != nil {
			return resp, fmt.Errorf("resource: %w", err)
		}
		return resp, nil
	}
	return &Client{lock: lock, worker: worker, do: do, close: conn.Close}, nil
}

// Do carries out a request.
func (c *Client) Do(ctx context.Context, q Request) (Response, error) {
	q.Lock, q.Worker = c.lock, c.worker
	return c.do(ctx, q)
}
