package peertest

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/spec"
	"github.com/conclave-go/conclave/lease"
)

const (
	// Calm is a TTL with which no renewal falls into a test.
	Calm = 120 * time.Second
	// Unhurried is a TTL whose rounds a test can wait for, and which a busy machine
	// does not lose.
	Unhurried = 6 * time.Second
)

// Peer is what one process has: a client, whose calls are recorded and whose network
// can be broken, and a session.
type Peer struct {
	Cluster *etcdtest.Cluster
	Client  *clientv3.Client
	Session *lease.Session
	Rec     *etcdtest.Recorder
	Net     *etcdtest.Net
	// Waiting delivers each acquisition that starts to wait.
	Waiting chan lease.Event
}

// Option changes a peer.
type Option func(*config)

type config struct {
	ttl         time.Duration
	client      []etcdtest.ClientOption
	unspecified string // why it is not checked against the specification
}

// WithTTL sets the TTL of the session's leases; [Calm] is the default.
func WithTTL(ttl time.Duration) Option { return func(c *config) { c.ttl = ttl } }

// WithClient adds options of the client.
func WithClient(opts ...etcdtest.ClientOption) Option {
	return func(c *config) { c.client = append(c.client, opts...) }
}

// New returns a peer that lives as long as the test.
func New(tb testing.TB, c *etcdtest.Cluster, opts ...Option) *Peer {
	tb.Helper()
	cfg := config{ttl: Calm}
	for _, o := range opts {
		o(&cfg)
	}
	p := &Peer{Cluster: c, Rec: &etcdtest.Recorder{}, Net: c.Net(tb), Waiting: make(chan lease.Event, 1000)}
	observed := []lease.Option{
		lease.WithTTL(cfg.ttl), lease.WithObserver(lease.Observer{Waiting: func(e lease.Event) { p.Waiting <- e }}),
	}
	var specified *spec.Process
	if _, measured := tb.(*testing.B); !measured && cfg.unspecified == "" {
		specified = Specified(tb, c)
		observed = append(observed, lease.WithObserver(specified.Observer()))
	}
	p.Client = c.Client(tb, append([]etcdtest.ClientOption{
		etcdtest.WithDialOptions(specified.DialOptions()...), etcdtest.WithRecorder(p.Rec), etcdtest.ViaNet(p.Net), etcdtest.WithFastReconnect(),
	}, cfg.client...)...)
	var err error
	p.Session, err = lease.NewSession(Guarded(tb), p.Client, observed...)
	require.NoError(tb, err)
	tb.Cleanup(func() {
		p.Net.Heal()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(tb.Context()), Guard)
		defer cancel()
		require.NoError(tb, p.Session.Close(ctx))
	})
	return p
}

// LeaseID returns the ID of the live lease.
func (p *Peer) LeaseID(tb testing.TB) clientv3.LeaseID {
	tb.Helper()
	l, err := p.Session.Lease(Guarded(tb))
	require.NoError(tb, err)
	return l.ID()
}

// Watch is a watch that a client asked for.
type Watch struct {
	Key     string
	End     string // of a range, "" for one key
	Start   int64
	Filters []pb.WatchCreateRequest_FilterType
	// Created is the store's revision when it was created, 0 if it was not yet.
	Created int64
}

// On reports whether the watch is on the key, or, with own, on a range with the two.
func (w Watch) On(key, own string) bool {
	return w.Key == key && w.End == "" || own != "" && w.Key <= min(key, own) && w.End > max(key, own) && strings.HasSuffix(w.End, "\x00")
}

// Watches returns the watches that the client has asked for. The server creates those of
// one stream in order.
func (p *Peer) Watches() []Watch { return WatchesIn(p.Rec) }

// WatchesIn returns the watches that a recorded client has asked for.
func WatchesIn(rec *etcdtest.Recorder) (all []Watch) {
	for _, c := range rec.Calls() {
		if req, ok := c.Request.(*pb.WatchRequest); ok && c.IsWatchCreate() {
			req := req.GetCreateRequest()
			all = append(all, Watch{Key: string(req.Key), End: string(req.RangeEnd), Start: req.StartRevision, Filters: req.Filters})
		}
		if resp, ok := c.Response.(*pb.WatchResponse); ok && resp.Created {
			for i := range all {
				if all[i].Created == 0 {
					all[i].Created = resp.Header.Revision
					break
				}
			}
		}
	}
	return all
}

// AwaitWatch waits until a watch on key, by whoever waits under own, has been created, and
// each that was asked for since; on any key if it is empty: an acquisition whose first
// reply came too late has yet to find out whom it waits for.
func (p *Peer) AwaitWatch(tb testing.TB, key, own string) {
	tb.Helper()
	p.awaitWatch(tb, 0, key, own)
}

// NextWatch returns [Peer.AwaitWatch] for watches that are asked for from now on.
func (p *Peer) NextWatch(tb testing.TB) func(key, own string) {
	tb.Helper()
	before := len(p.Watches())
	return func(key, own string) {
		tb.Helper()
		p.awaitWatch(tb, before, key, own)
	}
}

func (p *Peer) awaitWatch(tb testing.TB, after int, key, own string) {
	tb.Helper()
	Eventually(tb, func() bool {
		found, all := false, p.Watches()
		for _, w := range all[min(after, len(all)):] {
			if key == "" || w.On(key, own) {
				found = w.Created != 0
			}
		}
		return found
	}, "a watch on %q", key)
}
