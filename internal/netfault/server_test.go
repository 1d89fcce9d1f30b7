package netfault_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/netfault"
)

const (
	// guard is how long a test waits for what must happen; only a failure takes that long.
	guard = time.Minute
	// silence is how long a test listens for what must not happen. A wrong byte takes microseconds.
	silence = 50 * time.Millisecond
)

// lineServer answers every line with "re " and the line, and reports the lines
// it got and how its connections ended.
type lineServer struct {
	ln    *net.TCPListener
	lines chan string
	ends  chan error
	conns chan *net.TCPConn
}

func startServer(t *testing.T) *lineServer {
	t.Helper()
	ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	s := &lineServer{
		ln:    ln,
		lines: make(chan string, 1000),
		ends:  make(chan error, 1000),
		conns: make(chan *net.TCPConn, 1000),
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.AcceptTCP()
			if err != nil {
				return
			}
			s.conns <- c
			wg.Go(func() { s.serve(c) })
		}
	})
	t.Cleanup(func() {
		require.NoError(t, ln.Close())
		wg.Wait()
	})
	return s
}

func (s *lineServer) serve(c net.Conn) {
	defer func() { _ = c.Close() }()
	r := bufio.NewReader(c)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			s.ends <- err
			return
		}
		s.lines <- line
		if _, err := io.WriteString(c, "re "+line); err != nil {
			s.ends <- err
			return
		}
	}
}

func start(t *testing.T, target string) *netfault.Proxy {
	t.Helper()
	p, err := netfault.Start(target)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

type client struct {
	*net.TCPConn
	t *testing.T
	r *bufio.Reader
}

func dial(t *testing.T, p *netfault.Proxy) *client {
	t.Helper()
	addr, err := net.ResolveTCPAddr("tcp", p.Addr())
	require.NoError(t, err)
	c, err := net.DialTCP("tcp", nil, addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return &client{TCPConn: c, t: t, r: bufio.NewReader(c)}
}

// connected dials and makes sure that the connection reaches the server.
func connected(t *testing.T, p *netfault.Proxy) *client {
	t.Helper()
	c := dial(t, p)
	c.send("hello\n")
	c.expect("re hello\n")
	return c
}

func (c *client) send(line string) {
	c.t.Helper()
	_, err := io.WriteString(c, line)
	require.NoError(c.t, err)
}

func (c *client) expect(want string) {
	c.t.Helper()
	require.Equal(c.t, want, c.line())
}

// line returns the next line.
func (c *client) line() string {
	c.t.Helper()
	require.NoError(c.t, c.SetReadDeadline(time.Now().Add(guard)))
	got, err := c.r.ReadString('\n')
	require.NoError(c.t, err)
	return got
}

// expectSilence fails if anything arrives, the end of the connection included.
func (c *client) expectSilence() {
	c.t.Helper()
	require.NoError(c.t, c.SetReadDeadline(time.Now().Add(silence)))
	_, err := c.r.ReadByte()
	var timeout net.Error
	require.ErrorAs(c.t, err, &timeout)
	require.True(c.t, timeout.Timeout(), "got %v", err)
}

func (c *client) expectReset() {
	c.t.Helper()
	require.NoError(c.t, c.SetReadDeadline(time.Now().Add(guard)))
	_, err := c.r.ReadByte()
	requireReset(c.t, err)
}

// requireDialReset dials and wants a reset, which may come as early as in Dial.
func requireDialReset(t *testing.T, p *netfault.Proxy) {
	t.Helper()
	requireReset(t, answer(t, p))
}

// answer dials and returns the error of that, or of the first read.
func answer(t *testing.T, p *netfault.Proxy) error {
	t.Helper()
	c, err := net.Dial("tcp", p.Addr())
	if err == nil {
		defer func() { _ = c.Close() }()
		require.NoError(t, c.SetReadDeadline(time.Now().Add(guard)))
		_, err = c.Read(make([]byte, 1))
	}
	return err
}

func requireReset(t *testing.T, err error) {
	t.Helper()
	require.True(t, errors.Is(err, syscall.ECONNRESET), "want a reset, got %v", err)
}

func receive[T any](t *testing.T, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(guard):
		require.FailNow(t, "nothing came")
		panic("unreachable")
	}
}

func requireNothing[T any](t *testing.T, ch <-chan T) {
	t.Helper()
	select {
	case v := <-ch:
		require.FailNow(t, "something came", "%v", v)
	case <-time.After(silence):
	}
}
