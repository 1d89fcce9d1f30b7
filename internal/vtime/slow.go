package vtime

import (
	"context"
	"io"
	"net"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
)

// SlowClient is [Server.Client] over links on which everything takes a time, in each
// direction the given: a far away or a busy server. Bytes stay in order, and any number of
// them may be on their way.
func (s *Server) SlowClient(toServer, toClient time.Duration, opts ...ClientOption) *clientv3.Client {
	s.t.Helper()
	slow := clientOptionFunc(func(config *clientv3.Config) {
		config.DialOptions = append(config.DialOptions, grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			lis, err := s.listener()
			if err != nil {
				return nil, err
			}
			pipe, err := lis.DialContext(ctx)
			if err != nil {
				return nil, err
			}
			return newSlowConn(pipe, toServer, toClient), nil
		}))
	})
	return s.Client(append(opts, slow)...)
}

// slowConn is the client's end of a slow connection.
type slowConn struct {
	net.Conn // the pipe

	sent, received *line
}

func newSlowConn(pipe net.Conn, toServer, toClient time.Duration) *slowConn {
	c := &slowConn{Conn: pipe, sent: newLine(toServer), received: newLine(toClient)}
	go func() { // ends with the pipe
		_, _ = io.Copy(pipe, c.sent)
		_ = pipe.Close() // what was on its way has arrived
	}()
	go func() { // as above
		_, _ = io.Copy(c.received, pipe)
		c.received.close()
	}()
	return c
}

func (c *slowConn) Read(b []byte) (int, error)  { return c.received.Read(b) }
func (c *slowConn) Write(b []byte) (int, error) { return c.sent.Write(b) }

// Close ends the connection for the client at once, and for the server when that arrives.
func (c *slowConn) Close() error {
	c.received.close()
	c.sent.close()
	return nil
}

// line is one direction of a slow connection.
type line struct {
	takes time.Duration
	wake  chan struct{} // holds a token when there is news

	mu     sync.Mutex
	queue  []parcel
	closed bool
}

// parcel is what was written at once, and when it arrives.
type parcel struct {
	due  time.Time
	data []byte
}

func newLine(takes time.Duration) *line { return &line{takes: takes, wake: make(chan struct{}, 1)} }

// Write never blocks: the line has room for everything.
func (l *line) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return 0, net.ErrClosed
	}
	l.queue = append(l.queue, parcel{time.Now().Add(l.takes), append([]byte(nil), b...)})
	l.news()
	return len(b), nil
}

// Read returns what has arrived, and waits until something has.
func (l *line) Read(b []byte) (int, error) {
	for {
		n, wait, err := l.take(b)
		if n > 0 || err != nil {
			return n, err
		}
		if wait == 0 {
			<-l.wake
			continue
		}
		Sleep(wait)
	}
}

// take returns what has arrived, or how long that will be, 0 if it is not known.
func (l *line) take(b []byte) (n int, wait time.Duration, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) == 0 {
		if l.closed {
			return 0, 0, io.EOF
		}
		return 0, 0, nil
	}
	first := &l.queue[0]
	if wait := time.Until(first.due); wait > 0 {
		return 0, wait, nil
	}
	n = copy(b, first.data)
	if first.data = first.data[n:]; len(first.data) == 0 {
		l.queue = l.queue[1:]
	}
	return n, 0, nil
}

// close lets nothing more onto the line.
func (l *line) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.news()
}

// news wakes the reader. mu must be held.
func (l *line) news() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}
