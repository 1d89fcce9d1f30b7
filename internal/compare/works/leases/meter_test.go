package leases_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/conclave-go/conclave/internal/compare/perf"
	"github.com/conclave-go/conclave/internal/compare/works/leases"
)

func TestAMeterCountsCallsAndMessagesOnStreams(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var pool perf.Pool
	t.Cleanup(func() { require.NoError(t, pool.Close()) })
	env, err := pool.Env(ctx, perf.EtcdFast, true)
	require.NoError(t, err)
	var m leases.Meter
	client, err := clientv3.New(clientv3.Config{
		Endpoints: env.Endpoints(), Logger: zap.NewNop(), DialOptions: []grpc.DialOption{m.Option()},
	})
	require.NoError(t, err)
	defer func() { require.NoError(t, client.Close()) }()
	const calls, size = 7, 1000
	for range calls {
		_, err = client.Put(ctx, "k", strings.Repeat("v", size))
		require.NoError(t, err)
	}
	sent, bytes := m.Read()
	require.EqualValues(t, calls, sent)
	require.Greater(t, bytes, int64(calls*size))
	require.Less(t, bytes, int64(2*calls*size))
	l, err := client.Grant(ctx, 60)
	require.NoError(t, err)
	_, err = client.KeepAliveOnce(ctx, l.ID)
	require.NoError(t, err)
	after, _ := m.Read()
	require.EqualValues(t, calls+2, after, "a renewal is a message on a stream")
}
