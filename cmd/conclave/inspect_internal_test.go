package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

// heard is what is written, piece by piece.
type heard chan string

func (h heard) Write(p []byte) (int, error) {
	h <- string(p)
	return len(p), nil
}

// await waits for a piece with words in it.
func (h heard) await(t *testing.T, words string) {
	t.Helper()
	for end := time.After(time.Minute); ; {
		select {
		case said := <-h:
			if strings.Contains(said, words) {
				return
			}
		case <-end:
			require.Fail(t, "not said", words)
		}
	}
}

func TestAChangeThatCouldNotBeReadIsShownLater(t *testing.T) {
	t.Parallel()
	c, rec := etcdtest.New(t), &etcdtest.Recorder{}
	name, out, notes := c.Prefix(t)+"a", make(heard, 100), make(heard, 1000)
	s, err := lease.NewSession(t.Context(), c.Client(t))
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close(context.WithoutCancel(t.Context()))) }()
	m, err := lock.NewMutex(s, name, lock.WithOwner("ann"))
	require.NoError(t, err)

	a := &app{out: out, err: notes, etcd: etcdFlags{commandTimeout: 200 * time.Millisecond, dialTimeout: time.Second, resolved: c.Endpoints()}}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	client := c.Client(t, etcdtest.WithRecorder(rec))
	go func() {
		defer close(ended)
		_ = a.inspectAgain(ctx, client, &inspectOptions{}, []string{name}) // it is cancelled, at the latest
	}()
	defer func() { cancel(); <-ended }()
	out.await(t, "free")
	stop := rec.Hook("Range", silent)
	for len(notes) > 0 { // of a busy machine
		<-notes
	}
	h, err := m.TryLock(t.Context())
	require.NoError(t, err)
	notes.await(t, "deadline exceeded")
	stop()
	out.await(t, "ann")
	require.NoError(t, h.Unlock(t.Context()))
}
