//go:build linux

package main

import (
	"context"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// never is a time that no test waits for.
const never = time.Hour

// interruptedAt returns what fn does in a context that a signal ends once begun is closed.
func interruptedAt(t *testing.T, begun <-chan struct{}, fn func(context.Context) error) error {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	done := make(chan error, 1)
	go func() { done <- fn(ctx) }()
	select {
	case <-begun:
	case err := <-done:
		require.Fail(t, "it has not waited", "%v", err)
	}
	cancel(interruption{syscall.SIGINT})
	select {
	case err := <-done:
		return err
	case <-time.After(time.Minute):
		require.Fail(t, "the signal is not heeded")
		return nil
	}
}

// listen returns a server, whose connections go to serve.
func listen(t *testing.T, serve func(net.Conn)) (addr string) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	go func() { // ends with the listener
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serve(conn)
		}
	}()
	return l.Addr().String()
}

// deaf returns an address that no connection to is ever made.
func deaf(t *testing.T) (addr string) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, unix.Close(fd)) })
	require.NoError(t, unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	require.NoError(t, unix.Listen(fd, 0))
	name, err := unix.Getsockname(fd)
	require.NoError(t, err)
	at, ok := name.(*unix.SockaddrInet4)
	require.True(t, ok)
	addr = (&net.TCPAddr{IP: at.Addr[:], Port: at.Port}).String()
	for { // until its queue is full
		conn, err := (&net.Dialer{Timeout: 200 * time.Millisecond}).DialContext(t.Context(), "tcp", addr)
		if err != nil {
			return addr
		}
		t.Cleanup(func() { require.NoError(t, conn.Close()) })
	}
}

func TestASignalEndsTheWaitForALogin(t *testing.T) {
	t.Parallel()
	begun := make(chan struct{}, 1)
	silent := listen(t, func(net.Conn) { begun <- struct{}{} }) // whatever comes after that is not answered
	a := &app{err: os.Stderr, etcd: etcdFlags{endpoints: []string{silent}, user: "a:b", dialTimeout: never, commandTimeout: never, insecureTransport: true}}
	err := interruptedAt(t, begun, func(ctx context.Context) error {
		_, err := a.client(ctx)
		return err
	})
	require.Equal(t, interruption{syscall.SIGINT}, err)
}

func TestASignalEndsTheWaitForSRVRecords(t *testing.T) {
	t.Parallel()
	begun := make(chan struct{}, 10)
	dns := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		begun <- struct{}{}
		<-ctx.Done()
		if ctx.Err() == context.DeadlineExceeded { // the time of the resolver itself
			<-t.Context().Done()
		}
		return nil, ctx.Err()
	}}
	a := &app{err: os.Stderr, etcd: etcdFlags{discoverySRV: "conclave.example", dns: dns, dialTimeout: never, commandTimeout: never}}
	err := interruptedAt(t, begun, func(ctx context.Context) error {
		_, err := a.client(ctx)
		return err
	})
	require.Equal(t, interruption{syscall.SIGINT}, err)
}

func TestASignalEndsTheSearchForTheCause(t *testing.T) {
	t.Parallel()
	f := &etcdFlags{resolved: []string{deaf(t)}, dialTimeout: never}
	begun := make(chan struct{})
	close(begun)
	err := interruptedAt(t, begun, func(ctx context.Context) error { return f.explain(ctx, context.DeadlineExceeded) })
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestAnEndpointThatAnswersIsFoundBesideOthers(t *testing.T) {
	t.Parallel()
	f := &etcdFlags{resolved: []string{deaf(t), listen(t, func(net.Conn) {}), deaf(t)}, dialTimeout: never}
	done := make(chan error, 1)
	go func() { done <- f.dial(t.Context()) }()
	select {
	case err := <-done:
		require.NoError(t, err)
	case <-time.After(time.Minute):
		require.Fail(t, "it waits for the one that does not answer")
	}
	f.resolved, f.dialTimeout = []string{deaf(t), "127.0.0.1:1"}, 100*time.Millisecond
	err := f.dial(t.Context())
	require.ErrorContains(t, err, "i/o timeout")
	require.ErrorContains(t, err, "connection refused")
}

func TestACommandConnectsAgainSoonAfterALongOutage(t *testing.T) {
	t.Parallel()
	const outage = 8
	var count atomic.Int64
	over := make(chan time.Duration, 1)
	last := time.Now()
	addr := listen(t, func(conn net.Conn) {
		_ = conn.Close() // nobody is there
		if count.Add(1) == outage {
			over <- time.Since(last)
		}
		last = time.Now()
	})
	a := &app{err: os.Stderr, etcd: etcdFlags{endpoints: []string{addr}, dialTimeout: 2 * time.Second, commandTimeout: never, insecureTransport: true}}
	client, err := a.client(t.Context())
	require.NoError(t, err)
	defer func() { require.NoError(t, client.Close()) }()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { _, _ = client.Get(ctx, "a") }() // which has it connect; ends with ctx
	select {
	case pause := <-over:
		require.Less(t, pause, 5*time.Second)
	case <-time.After(time.Minute):
		require.Fail(t, "it waits longer and longer")
	}
}
