package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/netfault"
)

const (
	// reachTimeout bounds the question whether a cluster is there.
	reachTimeout = 5 * time.Second
	// removeTimeout bounds the removal of what a run leaves in it.
	removeTimeout = 3 * time.Second
)

// Spec is what a client needs to know to connect. It can be handed to another
// process as JSON.
type Spec clientv3.ConfigSpec

// Dial returns a client, which logs nothing. The caller closes it.
func (s Spec) Dial(opts ...grpc.DialOption) (*clientv3.Client, error) {
	spec := clientv3.ConfigSpec(s)
	cfg, err := clientv3.NewClientConfig(&spec, zap.NewNop())
	if err != nil {
		return nil, err
	}
	cfg.Logger = zap.NewNop()
	cfg.DialOptions = opts
	return clientv3.New(*cfg)
}

// Cluster is the etcd that an example talks to. Use Open.
type Cluster struct {
	spec     Spec
	embedded *etcdtest.Cluster // nil if it runs elsewhere
}

// Open starts an etcd in this process, or makes sure that the one that the flags
// name answers. The caller closes it.
func Open(ctx context.Context, f *Flags) (*Cluster, error) {
	if f.Embedded() {
		return openEmbedded(ctx)
	}
	spec, err := f.Spec()
	if err != nil {
		return nil, err
	}
	c := &Cluster{spec: spec}
	if err := c.reach(ctx); err != nil {
		return nil, fmt.Errorf("no answer from etcd at %s: %w", strings.Join(spec.Endpoints, ", "), err)
	}
	return c, nil
}

func openEmbedded(ctx context.Context) (*Cluster, error) {
	e, err := etcdtest.Start(ctx)
	if err != nil {
		return nil, err
	}
	spec := Spec{Endpoints: e.Endpoints(), DialTimeout: defaultDialTimeout}
	return &Cluster{spec: spec, embedded: e}, nil
}

// reach reads a key, as "etcdctl endpoint health" does. A refusal is an answer.
func (c *Cluster) reach(ctx context.Context) error {
	client, err := c.spec.Dial()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	_, err = client.Get(ctx, "health")
	if errors.Is(err, rpctypes.ErrPermissionDenied) {
		err = nil
	}
	return errors.Join(err, client.Close())
}

// Spec returns what clients connect with.
func (c *Cluster) Spec() Spec { return c.spec }

// String names the cluster for people.
func (c *Cluster) String() string {
	if c.embedded != nil {
		return "embedded etcd"
	}
	return "etcd at " + strings.Join(c.spec.Endpoints, ", ")
}

// Close stops an embedded etcd and removes its folder.
func (c *Cluster) Close() error {
	if c.embedded == nil {
		return nil
	}
	return c.embedded.Close()
}

// Stop kills an embedded etcd: connections break.
func (c *Cluster) Stop() error {
	if c.embedded == nil {
		return errElsewhere
	}
	return c.embedded.Kill(0)
}

// Restart starts an embedded etcd again after Stop, with its data, and returns when it
// serves.
func (c *Cluster) Restart(ctx context.Context) error {
	if c.embedded == nil {
		return errElsewhere
	}
	return c.embedded.Restart(ctx, 0)
}

// errElsewhere says that an etcd that runs elsewhere is not this program's to stop.
var errElsewhere = errors.New("only an embedded etcd can be stopped")

// Remove deletes what begins with prefix, even if ctx is done, unless the cluster
// goes away with it.
func (c *Cluster) Remove(ctx context.Context, prefix string) error {
	if c.Embedded() {
		return nil
	}
	client, err := c.spec.Dial()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTimeout)
	defer cancel()
	_, err = client.Delete(ctx, prefix, clientv3.WithPrefix())
	return errors.Join(err, client.Close())
}

// Proxy starts a proxy before the first endpoint, and returns it with what a client
// connects through it with. The caller closes it.
func (c *Cluster) Proxy() (*netfault.Proxy, Spec, error) {
	scheme, target := split(c.spec.Endpoints[0])
	if strings.HasPrefix(scheme, "unix") {
		return nil, Spec{}, fmt.Errorf("%s: a proxy needs a TCP endpoint", c.spec.Endpoints[0])
	}
	proxy, err := netfault.Start(target)
	if err != nil {
		return nil, Spec{}, err
	}
	return proxy, c.spec.Via(proxy.Addr()), nil
}

// Via returns a spec whose only endpoint is addr, a way to the first endpoint of s.
// With TLS, addr is expected to show the certificate of that.
func (s Spec) Via(addr string) Spec {
	scheme, target := split(s.Endpoints[0])
	if scheme != "" {
		addr = scheme + "://" + addr
	}
	s.Endpoints = []string{addr}
	if s.Secure == nil || !s.usesTLS(scheme) || s.Secure.ServerName != "" {
		return s
	}
	secure := *s.Secure
	secure.ServerName = target
	if host, _, err := net.SplitHostPort(target); err == nil {
		secure.ServerName = host
	}
	s.Secure = &secure
	return s
}

func (s Spec) usesTLS(scheme string) bool {
	c := s.Secure
	return scheme == "https" || c.Cert != "" || c.Cacert != "" || c.InsecureSkipVerify || !c.InsecureTransport
}

// split takes an endpoint apart. The scheme may be missing.
func split(endpoint string) (scheme, target string) {
	scheme, target, found := strings.Cut(endpoint, "://")
	if !found {
		return "", endpoint
	}
	return scheme, target
}

// Embedded reports whether the cluster ends with this process.
func (c *Cluster) Embedded() bool { return c.embedded != nil }
