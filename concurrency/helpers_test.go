package concurrency_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/concurrency"
	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/peertest"
	"github.com/conclave-go/conclave/lease"
)

// Short names for what is used everywhere.
var (
	guarded    = peertest.Guarded
	eventually = peertest.Eventually
	put        = peertest.Put
	get        = peertest.Get
	remove     = peertest.Remove
	revoke     = peertest.Revoke
)

func await[T any](t *testing.T, ch <-chan T, what string) T {
	t.Helper()
	return peertest.Await(t, ch, what)
}

// member is a session with a client of its own, as a process has.
type member struct {
	*concurrency.Session
	client *clientv3.Client
	rec    *etcdtest.Recorder
	// waits delivers the key of each wait that begins.
	waits chan string
}

func newMember(t *testing.T, c *etcdtest.Cluster, opts ...concurrency.SessionOption) *member {
	t.Helper()
	m := &member{rec: &etcdtest.Recorder{}, waits: make(chan string, 100)}
	m.client = c.Client(t, etcdtest.WithRecorder(m.rec), etcdtest.WithFastReconnect())
	m.Session = newSession(t, m.client, append(opts, tellWaits(m.waits))...)
	return m
}

// tellWaits delivers the key of each wait that begins.
func tellWaits(waits chan<- string) concurrency.SessionOption {
	return concurrency.WithOptions(lease.WithObserver(lease.Observer{Waiting: func(e lease.Event) { waits <- e.Key }}))
}

func newSession(t *testing.T, client *clientv3.Client, opts ...concurrency.SessionOption) *concurrency.Session {
	t.Helper()
	s, err := concurrency.NewSession(client, opts...)
	require.NoError(t, err)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			require.ErrorIs(t, err, s.Ctx().Err())
		}
	})
	return s
}

// soon calls do in the background.
func soon(do func() error) <-chan error {
	done := make(chan error, 1)
	go func() { done <- do() }()
	return done
}

// waiting calls do in the background and returns once the member waits.
func (m *member) waiting(t *testing.T, do func() error) <-chan error {
	t.Helper()
	done := soon(do)
	await(t, m.waits, "the member waits")
	return done
}

func requireSuccess(t *testing.T, done <-chan error) {
	t.Helper()
	require.NoError(t, await(t, done, "the call returns"))
}

func requirePending(t *testing.T, done <-chan error) {
	t.Helper()
	select {
	case err := <-done:
		require.FailNow(t, "the call has returned", "%v", err)
	default:
	}
}

// requireClosed requires that ch is closed soon.
func requireClosed(t *testing.T, ch <-chan struct{}) {
	t.Helper()
	select {
	case <-ch:
	case <-time.After(peertest.Guard):
		require.FailNow(t, "not closed")
	}
}
