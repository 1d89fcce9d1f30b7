package lock_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

// A client of etcd waits longer after each connection that is refused, in the end for two minutes.
func TestALockIsGrantedSoonAfterAnOutageOfMinutes(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		session, err := lease.NewSession(t.Context(), s.Client())
		require.NoError(t, err)
		mutex, err := lock.NewMutex(session, "m")
		require.NoError(t, err)
		hold, err := mutex.Lock(t.Context())
		require.NoError(t, err)
		s.Stop()
		vtime.Advance(200 * time.Second)
		require.ErrorIs(t, hold.Err(), lease.ErrLost)
		s.Start()
		// What the old lease holds ends with it: the server begins its TTL anew.
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		defer cancel()
		hold, err = mutex.Lock(ctx)
		require.NoError(t, err)
		require.NoError(t, hold.Unlock(t.Context()))
		require.NoError(t, session.Close(t.Context()))
	})
}

// silence keeps what is sent on the watch streams that there are from their clients, as a member does that has vanished.
type silence struct {
	mu      sync.Mutex
	streams int // those that were opened
	silent  int // so many of them are
}

// begin has all streams that there are silent.
func (s *silence) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.silent = s.streams
}

// opened numbers a stream.
func (s *silence) opened() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.streams++
	return s.streams
}

func (s *silence) isSilent(number int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return number <= s.silent
}

func (s *silence) option() vtime.Option {
	return vtime.WithServerOptions(grpc.ChainStreamInterceptor(
		func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
			if info.FullMethod != "/etcdserverpb.Watch/Watch" {
				return handle(srv, ss)
			}
			number := s.opened()
			return handle(srv, silenced{ss, func() bool { return s.isSilent(number) }})
		}))
}

type silenced struct {
	grpc.ServerStream
	is func() bool
}

func (s silenced) SendMsg(m any) error {
	if s.is() {
		return nil
	}
	return s.ServerStream.SendMsg(m)
}

// lined has so many wait for the lock, one after the other, and counts those that were granted.
func lined(ctx context.Context, t *testing.T, mutex *lock.Mutex, size int) (granted *atomic.Int64, done *sync.WaitGroup) {
	t.Helper()
	granted, done = new(atomic.Int64), new(sync.WaitGroup)
	var failed sync.Once
	for range size {
		done.Go(func() {
			h, err := mutex.Lock(ctx)
			if err == nil {
				granted.Add(1)
				err = h.Unlock(ctx)
			}
			if err != nil {
				failed.Do(func() { t.Error(err) })
			}
		})
	}
	return granted, done
}

// Only the first pays for it with the time until the next look.
func TestWaitersDoNotStayOneByOneOnAStreamThatHasGoneSilent(t *testing.T) {
	t.Parallel()
	const size = 30
	var silence silence
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		client := s.Client()
		session, err := lease.NewSession(t.Context(), client)
		require.NoError(t, err)
		mutex, err := lock.NewMutex(session, "m")
		require.NoError(t, err)
		hold, err := mutex.Lock(t.Context())
		require.NoError(t, err)
		granted, done := lined(anHour(t), t, mutex, size)
		vtime.Advance(time.Second)
		silence.begin()
		require.NoError(t, hold.Unlock(t.Context()))
		vtime.Advance(lease.DefaultTTL)
		require.EqualValues(t, size, granted.Load())
		done.Wait()
		require.NoError(t, session.Close(t.Context()))
	}, silence.option())
}

// Those who have yet to open their watches do so on another stream, not some after the other on this one.
func TestACrowdDoesNotOpenItsWatchesOnAStreamThatHasGoneSilent(t *testing.T) {
	t.Parallel()
	const size = 200 // under one lease
	var silence silence
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		session, err := lease.NewSession(t.Context(), s.Client())
		require.NoError(t, err)
		var holds [2]*lock.Hold
		var mutexes [2]*lock.Mutex
		for i, name := range []string{"m", "other"} {
			mutexes[i], err = lock.NewMutex(session, name)
			require.NoError(t, err)
			holds[i], err = mutexes[i].Lock(t.Context())
			require.NoError(t, err)
		}
		_, one := lined(anHour(t), t, mutexes[1], 1) // whose watch has opened the stream
		vtime.Advance(time.Second)
		silence.begin()
		granted, done := lined(anHour(t), t, mutexes[0], size)
		vtime.Advance(lease.DefaultTTL/6 + time.Second/2) // after so long a watch is overdue
		require.NoError(t, holds[0].Unlock(t.Context()))
		vtime.Advance(time.Second / 2)
		require.EqualValues(t, size, granted.Load())
		done.Wait()
		require.NoError(t, holds[1].Unlock(t.Context()))
		one.Wait()
		require.NoError(t, session.Close(t.Context()))
	}, silence.option())
}
