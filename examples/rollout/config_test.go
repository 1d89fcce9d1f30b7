package main

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/conclavetest"
	"github.com/conclave-go/conclave/examples/internal/programtest"
	"github.com/conclave-go/conclave/lease"
)

func good() config {
	return config{
		"limits":   {Version: 3, Settings: settings{"rps": 100, "burst": 200}},
		"routes":   {Version: 3, Settings: settings{"blue": 90, "green": 10}},
		"features": {Version: 3, Settings: settings{"green": 1}},
	}
}

func TestMergingKeepsWhatIsNotChanged(t *testing.T) {
	t.Parallel()
	old := good()
	next := old.merged(change{"limits": {"rps": 120}, "regions": {"ap": 1}}, 4, 5)
	require.Equal(t, config{
		"limits":   {4, 5, settings{"rps": 120, "burst": 200}},
		"routes":   {4, 5, settings{"blue": 90, "green": 10}},
		"features": {4, 5, settings{"green": 1}},
		"regions":  {4, 5, settings{"ap": 1}},
	}, next)
	require.Equal(t, good(), old)
}

func TestWhatDoesNotFitIsInvalid(t *testing.T) {
	t.Parallel()
	require.NoError(t, good().validate())
	for want, c := range map[string]change{
		"add up to 95 %":                {"routes": {"blue": 85}},
		"burst 200 is below rps 300":    {"limits": {"rps": 300}},
		"10 % are routed to green":      {"features": {"green": 0}},
		"the routes add up to 100000 %": {"routes": {"blue": 99990}},
	} {
		require.ErrorContains(t, good().merged(c, 4, 5).validate(), want)
	}
}

// What the writers of the program do not do.
func TestAReaderFailsOnAMixtureOfWhatIsWrittenKeyByKey(t *testing.T) {
	t.Parallel()
	client := conclavetest.NewCluster(t).Client(t)
	ctx, cancel := context.WithTimeout(t.Context(), programtest.Hang)
	defer cancel()
	session, err := lease.NewSession(ctx, client)
	require.NoError(t, err)
	defer func() { require.NoError(t, session.Close(ctx)) }()
	ended := make(chan error, 1)
	go func() { ended <- read(ctx, client, session, "eu/1") }()
	puts, err := good().puts()
	require.NoError(t, err)
	_, err = client.Txn(ctx).Then(puts...).Commit()
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		got, err := client.Get(ctx, appliedKey, clientv3.WithPrefix())
		return err == nil && len(got.Kvs) == 1 && string(got.Kvs[0].Value) == "3"
	}, programtest.Hang, 10*time.Millisecond)
	puts, err = good().merged(nil, 4, 5).puts()
	require.NoError(t, err)
	_, err = client.Do(ctx, puts[0])
	require.NoError(t, err)
	require.ErrorContains(t, <-ended, "a mixture of versions: map[")
}
