package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/examples/internal/programtest"
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

func TestPartsOfSeveralVersionsAreAMixture(t *testing.T) {
	t.Parallel()
	c := good()
	v, err := c.version()
	require.NoError(t, err)
	require.Equal(t, 3, v)
	v, err = config{}.version()
	require.NoError(t, err)
	require.Zero(t, v)
	p := c["limits"]
	p.Version++
	c["limits"] = p
	_, err = c.version()
	require.ErrorContains(t, err, "a mixture of versions")
}

// What the writers of the program do not do.
func TestAReaderSeesAMixtureOfWhatIsWrittenKeyByKey(t *testing.T) {
	t.Parallel()
	c := programtest.Embedded(t)
	client, err := c.Spec().Dial()
	require.NoError(t, err)
	defer func() { require.NoError(t, client.Close()) }()
	ctx, cancel := context.WithTimeout(t.Context(), programtest.Hang)
	defer cancel()
	seen, ended := make(chan event, 10), make(chan error, 1)
	r := &reader{name: "eu/1", prefix: "test/", ttl: 10 * time.Second, report: func(e event) { seen <- e }}
	go func() { ended <- r.run(ctx, c.Spec()) }()
	require.Equal(t, event{Worker: "eu/1", Kind: joined}, <-seen)
	ops, err := good().puts("test/" + configKey)
	require.NoError(t, err)
	_, err = client.Txn(ctx).Then(ops...).Commit()
	require.NoError(t, err)
	require.Equal(t, event{Worker: "eu/1", Kind: applied, Version: 3}, <-seen)
	require.Eventually(t, func() bool {
		got, err := client.Get(ctx, "test/"+appliedKey, clientv3.WithPrefix())
		return err == nil && len(got.Kvs) == 1 && string(got.Kvs[0].Value) == "3"
	}, programtest.Hang, 10*time.Millisecond)
	ops, err = good().merged(nil, 4, 5).puts("test/" + configKey)
	require.NoError(t, err)
	_, err = client.Do(ctx, ops[0])
	require.NoError(t, err)
	require.ErrorContains(t, <-ended, "a mixture of versions: map[")
	require.Empty(t, seen)
}

func TestConfigsAreWrittenInOrder(t *testing.T) {
	t.Parallel()
	require.Equal(t, "features green 1; limits burst 200, rps 100; routes blue 90, green 10", good().String())
	require.Len(t, readerNames(), 6)
	require.True(t, strings.HasPrefix(readerNames()[0], clusters()[0]))
}
