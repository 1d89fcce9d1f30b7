package lock_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/peertest"
	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

// partyTTL is the TTL of those who meet in virtual time.
const partyTTL = 9 * time.Second

// party is what one process has in virtual time: a client, whose calls are recorded and
// whose network can be cut, and a session. The name of the lock is always "lock".
type party struct {
	server  *vtime.Server
	client  *clientv3.Client
	cut     *vtime.Cut
	rec     *etcdtest.Recorder
	session *lease.Session

	mu     sync.Mutex
	events []string // what the observer was told: "granted 12", "released 12", "lost 12"
}

func newParty(t *testing.T, s *vtime.Server) *party {
	t.Helper()
	p := &party{server: s, rec: &etcdtest.Recorder{}}
	specified := peertest.SpecifiedAlone(t)
	p.client, p.cut = s.CutClient(vtime.WithDialOptions(append(specified.DialOptions(), p.rec.DialOptions()...)...))
	var err error
	p.session, err = lease.NewSession(t.Context(), p.client, lease.WithTTL(partyTTL),
		lease.WithObserver(p.observer()), lease.WithObserver(specified.Observer()))
	require.NoError(t, err)
	t.Cleanup(func() {
		done, cancel := context.WithCancel(context.Background())
		cancel()
		_ = p.session.Close(done) // Run closes the client
	})
	return p
}

func (p *party) observer() lease.Observer {
	note := func(what string) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.events = append(p.events, what)
	}
	return lease.Observer{
		Granted: func(lease.Event) { note("granted") },
		Released: func(e lease.Event) {
			if e.Err != nil {
				note("lost")
			} else {
				note("released")
			}
		},
	}
}

// heard returns what the observer was told.
func (p *party) heard() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.events...)
}

func (p *party) mutex(t *testing.T, opts ...lock.Option) *lock.Mutex {
	t.Helper()
	return p.named(t, "lock", opts...)
}

// named returns the mutex of another name.
func (p *party) named(t *testing.T, name string, opts ...lock.Option) *lock.Mutex {
	t.Helper()
	m, err := lock.NewMutex(p.session, name, opts...)
	require.NoError(t, err)
	return m
}

// lease returns the ID of the live lease.
func (p *party) lease(t *testing.T) clientv3.LeaseID {
	t.Helper()
	l, err := p.session.Lease(t.Context())
	require.NoError(t, err)
	return l.ID()
}

// taker is Lock or TryLock.
type taker = func(ctx context.Context) (*lock.Hold, error)

// soon takes a lock in the background and returns once it waits, or has it.
func soon(ctx context.Context, take taker) <-chan outcome {
	done := make(chan outcome, 1)
	go func() {
		h, err := take(ctx)
		done <- outcome{h, err}
	}()
	synctest.Wait()
	return done
}

// line has n goroutines wait for the lock, one after the other.
func line(t *testing.T, m *lock.Mutex, n int) (all []<-chan outcome) {
	t.Helper()
	for range n {
		all = append(all, soon(anHour(t), m.Lock))
	}
	return all
}

// take locks a mutex, which is free or soon will be.
func take(t *testing.T, m *lock.Mutex) *lock.Hold {
	t.Helper()
	h, err := m.Lock(anHour(t))
	require.NoError(t, err)
	require.NoError(t, h.Err())
	return h
}

// requireKeys requires that keys exist under a prefix, and no others.
func requireKeys(t *testing.T, s *vtime.Server, prefix string, keys ...string) {
	t.Helper()
	require.ElementsMatch(t, keys, storedUnder(t, s, prefix))
}

func storedUnder(t *testing.T, s *vtime.Server, prefix string) (keys []string) {
	t.Helper()
	client := s.Client()
	resp, err := client.Get(t.Context(), prefix, clientv3.WithPrefix())
	require.NoError(t, err)
	for _, kv := range resp.Kvs {
		keys = append(keys, string(kv.Key))
	}
	require.NoError(t, client.Close())
	return keys
}

// operate has an operator do something.
func operate(t *testing.T, s *vtime.Server, do func(client *clientv3.Client) error) {
	t.Helper()
	client := s.Client()
	require.NoError(t, do(client))
	require.NoError(t, client.Close())
}

// losses are the ways in which a hold can be lost.
func losses() map[string]func(t *testing.T, p *party, h *lock.Hold) {
	return map[string]func(t *testing.T, p *party, h *lock.Hold){
		"cut off": func(t *testing.T, p *party, _ *lock.Hold) {
			t.Helper()
			p.cut.Cut()
			time.AfterFunc(2*partyTTL, p.cut.Heal)
		},
		"its lease revoked": func(t *testing.T, p *party, _ *lock.Hold) {
			t.Helper()
			id := p.lease(t)
			operate(t, p.server, func(client *clientv3.Client) error {
				_, err := client.Revoke(t.Context(), id)
				return err
			})
		},
		"its key deleted": func(t *testing.T, p *party, h *lock.Hold) {
			t.Helper()
			operate(t, p.server, func(client *clientv3.Client) error {
				_, err := client.Delete(t.Context(), h.Key())
				return err
			})
		},
	}
}

// eachVirtually runs a test in virtual time for each of some cases.
func eachVirtually[T any](t *testing.T, cases map[string]T, test func(t *testing.T, s *vtime.Server, c T)) {
	t.Helper()
	for what, c := range cases {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			vtime.Run(t, func(t *testing.T, s *vtime.Server) { test(t, s, c) })
		})
	}
}
