package ports_test

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/conclave-go/conclave/internal/ports"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAPortIsKeptUntilItIsReleased(t *testing.T) {
	t.Parallel()
	all, err := ports.Redis.Keep(100)
	require.NoError(t, err)
	different := make(map[int]bool)
	for _, port := range all {
		require.False(t, different[port])
		different[port] = true
		require.Equal(t, port, ports.Of(ports.Address(port)))
	}
	l, err := net.Listen("tcp", ports.Address(all[0])) //nolint:noctx // it listens at once
	require.NoError(t, err, "its server can bind it")
	_, err = net.Listen("tcp", ports.Address(all[0])) //nolint:noctx // it fails at once
	require.True(t, ports.Taken(err))
	require.NoError(t, l.Close())
	_, err = net.ListenPacket("udp", ports.Address(all[1])) //nolint:noctx // it fails at once
	require.True(t, ports.Taken(err), "another process finds it taken")
	ports.Release(all...)
	udp, err := net.ListenPacket("udp", ports.Address(all[1])) //nolint:noctx // it listens at once
	require.NoError(t, err)
	require.NoError(t, udp.Close())
	ports.Release(all...) // nothing happens
}
