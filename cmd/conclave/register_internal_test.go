package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/lease"
)

func TestThatAKeyWasTakenOverIsSaidThoughItShouldGoByNow(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	s, err := lease.NewSession(t.Context(), c.Client(t), lease.WithTTL(time.Second))
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close(t.Context())) }()
	r := &registrar{
		app: &app{etcd: etcdFlags{commandTimeout: time.Minute}}, session: s, key: c.Prefix(t) + "a", value: "old",
		options: &registerOptions{takeover: true, readyCmd: "false", readyTimeout: time.Minute},
	}
	require.NoError(t, r.put(t.Context()))
	client := c.Client(t)
	_, err = client.Put(t.Context(), r.key, "new")
	require.NoError(t, err)
	require.Eventually(t, func() bool { return r.replaced() != nil }, time.Minute, 10*time.Millisecond, "it looks at its key")
	require.Equal(t, exitLost, code(r.settle(t.Context())))
	resp, err := client.Get(t.Context(), r.key)
	require.NoError(t, err)
	require.EqualValues(t, "new", resp.Kvs[0].Value)
}
