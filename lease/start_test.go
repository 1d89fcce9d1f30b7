package lease_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	stdlog "log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lease"
)

// page is a log that may be read while it is written.
type page struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (p *page) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.Write(b)
}

func (p *page) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}

func (p *page) option() lease.Option {
	return lease.WithLogger(slog.New(slog.NewTextHandler(p, nil)))
}

// nowhere is an address where nobody listens.
const nowhere = "127.0.0.1:1"

func clientOf(t *testing.T, endpoints ...string) *clientv3.Client {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: endpoints, Logger: zap.NewNop()})
	require.NoError(t, err)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func TestASessionThatFindsNoServerSaysWhereAndWhy(t *testing.T) {
	t.Parallel()
	const endpoint = nowhere
	ctx, cancel := context.WithCancel(t.Context())
	var log page
	failed := make(chan error, 1)
	go func() {
		_, err := lease.NewSession(ctx, clientOf(t, endpoint), log.option())
		failed <- err
	}()
	eventually(t, func() bool { return strings.Contains(log.String(), "no answer yet") }, "a warning")
	cancel()
	err := await(t, failed, "NewSession fails")
	require.ErrorIs(t, err, context.Canceled)
	for _, said := range []string{err.Error(), log.String()} {
		require.Contains(t, said, endpoint)
		require.Contains(t, said, "connection refused")
		require.Equal(t, 1, strings.Count(said, "connection refused"), said)
	}
	require.Equal(t, 1, strings.Count(err.Error(), "lease:"), err)
}

func TestASessionOfAServerThatIsNotTrustedSaysSo(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = stdlog.New(io.Discard, "", 0)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	client, err := clientv3.New(clientv3.Config{
		Endpoints: []string{server.URL}, Logger: zap.NewNop(), TLS: &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12},
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = client.Close() })
	ctx, cancel := context.WithCancel(t.Context())
	var log page
	failed := make(chan error, 1)
	go func() {
		_, err := lease.NewSession(ctx, client, log.option())
		failed <- err
	}()
	eventually(t, func() bool { return strings.Contains(log.String(), "no answer yet") }, "a warning")
	cancel()
	err = await(t, failed, "NewSession fails")
	require.ErrorIs(t, err, context.Canceled)
	for _, said := range []string{err.Error(), log.String()} {
		require.Contains(t, said, server.URL)
		require.Contains(t, said, "certificate signed by unknown authority")
	}
}

func TestASessionOfAMalformedEndpointFailsAtOnce(t *testing.T) {
	t.Parallel()
	for endpoint, why := range map[string]string{"127.0.0.1": "missing port", "127.0.0.1:nowhere": "unknown port"} {
		_, err := lease.NewSession(guarded(t), clientOf(t, endpoint))
		require.ErrorContains(t, err, why)
		require.NotErrorIs(t, err, context.DeadlineExceeded)
	}
}

func TestWhatWaitsForAServerWarnsRarely(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		client, cut := s.CutClient()
		var log page
		session, err := lease.NewSession(t.Context(), client, log.option())
		require.NoError(t, err)
		cut.Cut()
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		_, err = lease.Register(ctx, session, "key", "")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "no answer from etcd at m0")
		warnings := strings.Count(log.String(), "no answer yet")
		require.Greater(t, warnings, 2)
		require.Less(t, warnings, 20)
		require.NotContains(t, err.Error(), "lease: lease", "no prefix twice")
		cut.Heal()
		require.NoError(t, session.Close(t.Context()))
	})
}

func TestCredentialsThatAreWrongAreNamedAtOnce(t *testing.T) {
	t.Parallel()
	// clientv3.New itself checks them if authentication is on by then.
	c := etcdtest.New(t, etcdtest.WithControl())
	clients := map[string]*clientv3.Client{
		"authentication failed": unauthenticated(t, c, clientv3.Config{Username: user, Password: "wrong"}),
		"user name is empty":    unauthenticated(t, c, clientv3.Config{}),
	}
	require.NoError(t, c.AddUser(guarded(t), user, password, realm))
	require.NoError(t, c.EnableAuth(guarded(t)))
	for name, client := range clients {
		s, err := lease.NewSession(guarded(t), client, lease.WithTTL(calm))
		if err == nil {
			_, err = lease.Register(guarded(t), s, realm+"k", "v")
			require.NoError(t, s.Close(guarded(t)))
		}
		require.ErrorContains(t, err, name)
		require.NotErrorIs(t, err, context.DeadlineExceeded)
	}
}

// unauthenticated returns a client of the cluster with the credentials of config.
func unauthenticated(t *testing.T, c *etcdtest.Cluster, config clientv3.Config) *clientv3.Client {
	t.Helper()
	config.Endpoints, config.Logger = c.Endpoints(), zap.NewNop()
	client, err := clientv3.New(config)
	require.NoError(t, err)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func TestARefusalAfterSuccessIsLoggedAndHealsByItself(t *testing.T) {
	t.Parallel()
	c := newGuardedCluster(t)
	root := newOperator(t, c, etcdtest.WithUser(etcdtest.RootUser, etcdtest.RootPassword))
	var log page
	p := newPulse()
	s := newSession(t, c.Client(t, etcdtest.WithUser(user, password)), lease.WithTTL(calm), p.observe(), log.option())
	r, err := lease.Register(guarded(t), s, realm+"k", "v")
	require.NoError(t, err)
	_, err = root.RoleRevokePermission(guarded(t), user, realm, clientv3.GetPrefixRangeEnd(realm))
	require.NoError(t, err)
	root.remove(t, realm+"k")
	root.revoke(t, liveLease(t, s).ID())
	eventually(t, func() bool {
		p.roundOf(t, s)
		return strings.Contains(log.String(), "registration refused")
	}, "a warning")
	require.ErrorContains(t, r.Err(), "permission denied")
	_, err = root.RoleGrantPermission(guarded(t), user, realm, clientv3.GetPrefixRangeEnd(realm), clientv3.PermissionType(clientv3.PermReadWrite))
	require.NoError(t, err)
	eventually(t, func() bool {
		p.roundOf(t, s)
		return r.Err() == nil
	}, "it is back")
}
