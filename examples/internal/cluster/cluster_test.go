package cluster_test

import (
	"flag"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/examples/internal/cluster"
	"github.com/conclave-go/conclave/examples/internal/programtest"
)

// spec returns what the flags and the environment make of a command line.
func spec(t *testing.T, args ...string) (cluster.Spec, error) {
	t.Helper()
	fs := flag.NewFlagSet("test", flag.ContinueOnError)
	f := cluster.Register(fs)
	require.NoError(t, fs.Parse(args))
	return f.Spec()
}

func TestFlagsTakeTheirDefaultsFromEtcdctlsVariables(t *testing.T) {
	t.Setenv("ETCDCTL_ENDPOINTS", "https://a:2379, https://b:2379")
	t.Setenv("ETCDCTL_CACERT", "ca.pem")
	t.Setenv("ETCDCTL_USER", "alice:secret:s")
	t.Setenv("ETCDCTL_INSECURE_SKIP_TLS_VERIFY", "true")
	s, err := spec(t, "-cacert", "other.pem")
	require.NoError(t, err)
	assert.Equal(t, []string{"https://a:2379", "https://b:2379"}, s.Endpoints)
	assert.Equal(t, "other.pem", s.Secure.Cacert, "a flag overrules its variable")
	assert.True(t, s.Secure.InsecureSkipVerify)
	assert.Equal(t, "alice", s.Auth.Username)
	assert.Equal(t, "secret:s", s.Auth.Password)
}

func TestBadVariableIsNamed(t *testing.T) {
	t.Setenv("ETCDCTL_DIAL_TIMEOUT", "soon")
	_, err := spec(t)
	require.ErrorContains(t, err, "ETCDCTL_DIAL_TIMEOUT")
}

func TestUserNeedsAPassword(t *testing.T) {
	t.Parallel()
	_, err := spec(t, "-endpoints", "a:2379", "-user", "alice")
	require.ErrorContains(t, err, "ETCDCTL_PASSWORD")
	s, err := spec(t, "-endpoints", "a:2379", "-user", "alice", "-password", "secret")
	require.NoError(t, err)
	assert.Equal(t, "secret", s.Auth.Password)
}

func TestViaExpectsTheCertificateOfTheEndpoint(t *testing.T) {
	t.Parallel()
	for endpoint, want := range map[string]struct{ addr, name string }{
		"https://etcd.example:2379": {"https://127.0.0.1:1", "etcd.example"},
		"https://[::1]:2379":        {"https://127.0.0.1:1", "::1"},
		"http://etcd.example:2379":  {"http://127.0.0.1:1", ""},
		"etcd.example:2379":         {"127.0.0.1:1", ""},
	} {
		s, err := spec(t, "-endpoints", endpoint)
		require.NoError(t, err)
		via := s.Via("127.0.0.1:1")
		assert.Equal(t, []string{want.addr}, via.Endpoints)
		assert.Equal(t, want.name, via.Secure.ServerName, endpoint)
		assert.Empty(t, s.Secure.ServerName, "the original is left alone")
	}
}

func TestEmbeddedClusterCountsWhatItsClientsAsk(t *testing.T) {
	t.Parallel()
	c := programtest.Embedded(t)
	assert.True(t, c.Embedded())
	proxy, via, err := c.Proxy()
	require.NoError(t, err)
	defer func() { require.NoError(t, proxy.Close()) }()

	var counter cluster.Counter
	client, err := via.Dial(counter.DialOptions()...)
	require.NoError(t, err)
	defer func() { require.NoError(t, client.Close()) }()
	_, err = client.Put(t.Context(), "k", "v")
	require.NoError(t, err)
	_, err = client.Get(t.Context(), "k")
	require.NoError(t, err)
	assert.Equal(t, map[string]int{"Put": 1, "Range": 1}, counter.Counts())
}

func TestEmbeddedClusterComesBackWithItsData(t *testing.T) {
	t.Parallel()
	c := programtest.Embedded(t)
	client, err := c.Spec().Dial()
	require.NoError(t, err)
	defer func() { require.NoError(t, client.Close()) }()
	_, err = client.Put(t.Context(), "k", "v")
	require.NoError(t, err)
	require.NoError(t, c.Stop())
	require.NoError(t, c.Restart(t.Context()))
	resp, err := client.Get(t.Context(), "k")
	require.NoError(t, err)
	assert.Len(t, resp.Kvs, 1)
}
