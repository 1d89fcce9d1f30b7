package lock_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/connectivity"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

// sharedPage is a page that may be read while it is written.
type sharedPage struct {
	mu sync.Mutex
	b  strings.Builder
}

func (p *sharedPage) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.b.Write(b)
}

func (p *sharedPage) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.b.String()
}

func (p *sharedPage) option() lease.Option {
	return lease.WithLogger(slog.New(slog.NewTextHandler(p, nil)))
}

func TestALockWhoseServerIsGoneSaysWhereAndWhy(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	var log sharedPage
	client := c.Client(t, etcdtest.WithFastReconnect())
	s, err := lease.NewSession(guarded(t), client, lease.WithTTL(12*time.Second), log.option())
	require.NoError(t, err)
	m, err := lock.NewMutex(s, c.Prefix(t)+"lock")
	require.NoError(t, err)
	require.NoError(t, c.Kill(0))
	eventually(t, func() bool { return client.ActiveConnection().GetState() != connectivity.Ready }, "the client notices")
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		_, err := m.Lock(ctx)
		failed <- err
	}()
	eventually(t, func() bool { return strings.Contains(log.String(), "queue: request: no answer yet") }, "a warning")
	cancel()
	err = await(t, failed, "Lock fails")
	require.ErrorIs(t, err, context.Canceled)
	for _, said := range []string{err.Error(), log.String()} {
		require.Contains(t, said, strings.TrimPrefix(c.Endpoints()[0], "http://"))
		require.Contains(t, said, "connection refused")
	}
	_ = s.Close(ctx) // there is nobody to wait for
}

func TestManyWhoWaitForASilentServerWarnTogether(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		client, cut := s.CutClient()
		var log sharedPage
		session, err := lease.NewSession(t.Context(), client, lease.WithTTL(5*time.Minute), log.option())
		require.NoError(t, err)
		cut.Cut()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var all sync.WaitGroup
		for i := range 100 {
			m, err := lock.NewMutex(session, "lock"+string(rune('a'+i%20)))
			require.NoError(t, err)
			all.Go(func() {
				_, err := m.Lock(ctx)
				assert.ErrorIs(t, err, context.DeadlineExceeded)
				assert.ErrorContains(t, err, "no answer from etcd at m0")
			})
		}
		all.Wait()
		warnings := strings.Count(log.String(), "no answer yet")
		require.GreaterOrEqual(t, warnings, 2)
		require.LessOrEqual(t, warnings, 4, log.String()) // after 10, 30 and 70 s
		cut.Heal()
		require.NoError(t, session.Close(t.Context()))
	})
}
