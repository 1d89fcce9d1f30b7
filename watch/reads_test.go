package watch_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/watch"
)

// slowReads makes a server's reads take a while, and counts those that it has at once.
type slowReads struct {
	mu        sync.Mutex
	now, most int
	takes     time.Duration
}

func (s *slowReads) option() vtime.Option {
	return vtime.WithServerOptions(grpc.ChainUnaryInterceptor(
		func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			if strings.HasSuffix(info.FullMethod, "/Range") {
				s.add(1)
				defer s.add(-1)
				vtime.Sleep(s.takes)
			}
			return handler(ctx, req)
		}))
}

func (s *slowReads) add(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now += n
	s.most = max(s.most, s.now)
}

// counts returns how many reads there are, and the most there were.
func (s *slowReads) counts() (now, most int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now, s.most
}

// A server is not asked for thousands of states at once, and who waits for his turn may
// leave.
func TestCachesThatLoadTogetherTakeTurnsToRead(t *testing.T) {
	t.Parallel()
	reads := slowReads{takes: time.Second}
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		client := s.Client()
		all := newCrowd(t, client)
		_, most := reads.counts()
		require.Equal(t, watch.MaxReads, most)

		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		late := make(chan error, crowd)
		for i := range crowd {
			go func() {
				_, err := watch.NewCache(ctx, client, fmt.Sprint("late", i, "/"), text)
				late <- err
			}()
		}
		vtime.Advance(time.Second / 2)
		now, _ := reads.counts()
		require.Equal(t, watch.MaxReads, now)
		cancel()
		synctest.Wait() // no virtual time passes
		require.Len(t, late, crowd)
		require.ErrorIs(t, <-late, context.Canceled)
		vtime.Advance(time.Second)
		closeAll(t, all)
	}, reads.option())
}
