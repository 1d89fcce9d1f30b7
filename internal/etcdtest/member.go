package etcdtest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"google.golang.org/grpc"

	"github.com/conclave-go/conclave/internal/netfault"
	"github.com/conclave-go/conclave/internal/ports"
	"github.com/conclave-go/conclave/internal/race"
)

const (
	tickMs = 20
	// electionMs is short, so that tests need not wait long for the next leader. Where the
	// race detector slows the servers down, leaders would not last.
	electionMs = 100 * race.Slowdown
	bcryptCost = 4 // the least there is: passwords here protect nothing
	// rebindPause is between attempts to get a stopped member's port back.
	rebindPause = 20 * time.Millisecond
)

var (
	errStopped = errors.New("member is stopped")
	errRunning = errors.New("member is running")
)

// member is one server of an embedded cluster, running or not.
type member struct {
	index          int
	name           string
	dir            string
	clientURL      url.URL
	peerURL        url.URL // where it listens
	advertised     url.URL // where the others find it
	clientPort     int
	peerPort       int
	initialCluster string
	token          string
	tokenTTL       time.Duration
	streams        uint32
	joins          bool            // a cluster that there is, see Replace and addLearner
	proxy          *netfault.Proxy // at the advertised URL; nil in a cluster of one

	mu   sync.Mutex
	etcd *embed.Etcd // nil while stopped
	// id stays when the member stops: it follows from the peer URL and the token.
	id types.ID
	// registered holds the gRPC server of the current run, from the moment it
	// serves. It is for kill, which stops it before the etcd server and without
	// the grace that embed's Close may give it.
	registered chan *grpc.Server
}

func memberName(i int) string { return fmt.Sprintf("member%d", i) }

func newMember(i int, dir string, clientPort, peerPort int) *member {
	return &member{
		index:      i,
		name:       memberName(i),
		dir:        dir,
		clientPort: clientPort,
		peerPort:   peerPort,
		clientURL:  localURL(clientPort),
		peerURL:    localURL(peerPort),
		advertised: localURL(peerPort),
	}
}

func localURL(port int) url.URL {
	return url.URL{Scheme: "http", Host: fmt.Sprintf("127.0.0.1:%d", port)}
}

func (m *member) clientAddr() string { return m.clientURL.Host }

// proxyPeers puts a proxy before the peer URL.
func (m *member) proxyPeers() error {
	proxy, err := netfault.Start(m.peerURL.Host)
	if err != nil {
		return err
	}
	m.proxy = proxy
	m.advertised = url.URL{Scheme: "http", Host: proxy.Addr()}
	return nil
}

// abandon gives back what a stopped member needs to come back.
func (m *member) abandon() {
	ports.Release(m.clientPort, m.peerPort)
	if m.proxy != nil {
		_ = m.proxy.Close() // always nil
	}
}

func (m *member) config() *embed.Config {
	cfg := embed.NewConfig()
	cfg.Name = m.name
	cfg.Dir = m.dir
	cfg.ListenClientUrls = []url.URL{m.clientURL}
	cfg.AdvertiseClientUrls = []url.URL{m.clientURL}
	cfg.ListenPeerUrls = []url.URL{m.peerURL}
	cfg.AdvertisePeerUrls = []url.URL{m.advertised}
	cfg.InitialCluster = m.initialCluster
	cfg.InitialClusterToken = m.token
	if m.joins {
		cfg.ClusterState = embed.ClusterStateFlagExisting
	}
	// It would want all members to have been connected for five seconds.
	cfg.StrictReconfigCheck = false
	if m.tokenTTL > 0 {
		cfg.AuthTokenTTL = uint(m.tokenTTL / time.Second)
	}
	if m.streams > 0 {
		cfg.MaxConcurrentStreams = m.streams
	}
	cfg.TickMs = tickMs
	cfg.ElectionMs = electionMs
	cfg.UnsafeNoFsync = true
	cfg.BcryptCost = bcryptCost
	cfg.EnableGRPCGateway = false
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(dyingLogger())
	cfg.GRPCAdditionalServerOptions = []grpc.ServerOption{grpc.WaitForHandlers(true)} // for kill
	registered := m.registered
	cfg.ServiceRegister = func(s *grpc.Server) { registered <- s }
	return cfg
}

// dyingLogger is silent until etcd ends the process, of which a silent logger
// would leave no trace but the exit code.
func dyingLogger() *zap.Logger {
	encoder := zapcore.NewConsoleEncoder(zap.NewDevelopmentEncoderConfig())
	return zap.New(zapcore.NewCore(encoder, zapcore.Lock(os.Stderr), zapcore.PanicLevel))
}

// start starts the server; awaitReady says when it serves.
func (m *member) start() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.etcd != nil {
		return fmt.Errorf("%s: %w", m.name, errRunning)
	}
	m.registered = make(chan *grpc.Server, 1)
	etcd, err := embed.StartEtcd(m.config())
	if err != nil {
		return fmt.Errorf("%s: %w", m.name, err)
	}
	m.etcd, m.id = etcd, etcd.Server.MemberID()
	return nil
}

// unheard is what etcd says when a new member asks another who the members are, and that one has not heard
// yet of the new one.
const unheard = "error validating peerURLs"

// restart is start with patience for a port that somebody else has at the moment, and for members that do
// not know yet that this one joins them.
func (m *member) restart(ctx context.Context) error {
	for {
		err := m.start()
		if err == nil || !ports.Taken(err) && !strings.Contains(err.Error(), unheard) {
			return err
		}
		timer := time.NewTimer(rebindPause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return errors.Join(err, ctx.Err())
		}
	}
}

// awaitReady returns when the member serves clients.
func (m *member) awaitReady(ctx context.Context) error {
	etcd := m.embedded()
	if etcd == nil {
		return fmt.Errorf("%s: %w", m.name, errStopped)
	}
	select {
	case s := <-m.registered: // it is when the server is ready
		m.registered <- s
		return nil
	case err := <-etcd.Err():
		return fmt.Errorf("%s: %w", m.name, errors.Join(errStopped, err))
	case <-ctx.Done():
		return fmt.Errorf("%s is not ready: %w", m.name, ctx.Err())
	}
}

// kill stops the server without a farewell to clients or peers. It does
// nothing to a stopped one.
func (m *member) kill() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.etcd == nil {
		return
	}
	etcd := m.etcd
	m.etcd = nil

	select {
	case s := <-m.registered:
		// Clients first: once the server stops, handlers answer that it does, which a
		// process that dies has no time for, and one that still sends to a watch reads
		// from a store that is closed.
		s.Stop()
	default: // not ready yet, so it has no clients
	}
	etcd.Server.HardStop()
	if m.proxy != nil {
		m.proxy.Refuse()
		defer m.proxy.Heal()
	}
	// Closes listeners. That it would hand the leadership over comes to
	// nothing: the context for it ended with the server.
	etcd.Close()
}

// embedded returns the running server, or nil.
func (m *member) embedded() *embed.Etcd {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.etcd
}

// server is embedded's inner part, or nil.
func (m *member) server() *etcdserver.EtcdServer {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.etcd == nil {
		return nil
	}
	return m.etcd.Server
}
