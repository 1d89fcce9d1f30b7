package main

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/status"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/lease"
)

func TestWhoDoesNotWaitForOthersDoesNotWaitForAnEtcdThatIsSilent(t *testing.T) {
	t.Parallel()
	c, rec := etcdtest.New(t), &etcdtest.Recorder{}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := lease.NewSession(ctx, c.Client(t, etcdtest.WithRecorder(rec)))
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close(ctx)) }()
	const timeout = 50 * time.Millisecond
	stop := rec.Hook("Txn", func(ctx context.Context, _ any, _ func() error) error {
		<-ctx.Done()
		return status.FromContextError(ctx.Err()).Err()
	})
	defer stop()
	name := c.Prefix(t) + "a"
	_, err = (&lockOptions{try: true}).acquire(ctx, s, []string{name}, timeout)
	require.Equal(t, exitUnavailable, code(err), "%v", err)
	require.NoError(t, ctx.Err())
	r := &registrar{app: &app{etcd: etcdFlags{commandTimeout: timeout}}, session: s, options: &registerOptions{}, key: name}
	require.Equal(t, exitUnavailable, code(r.putFirst(ctx)))
	require.NoError(t, ctx.Err())
}
