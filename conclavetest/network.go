package conclavetest

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/etcdtest"
)

// Network is what lies between one client, or several that share its fate, and the members
// of a cluster. It works until one of its methods breaks it. Faults add up until
// [Network.Heal]; each method returns at once, and what is sent after that is subject to
// the fault.
//
// Cutting a network is not the same as ending connections: bytes are held back, neither
// side learns anything, and new connections hang, as in a partition.
type Network struct {
	way      way
	config   clientv3.Config
	recorder *etcdtest.Recorder

	mu     sync.Mutex
	resume func() // ends StallWatches; nil unless stalled
}

// way is a breakable way from clients to the members.
type way interface {
	Cut()
	CutToServer()
	CutToClient()
	CutMember(i int)
	Delay(d time.Duration) error
	Rate(bytesPerSecond int) error
	Reset()
	Heal()
}

// Network returns a network in order that lives as long as the test. Its end heals it,
// after the functions that the test gave to Cleanup since: a session that is to be
// closed there needs a network that the test has healed.
func (c *Cluster) Network(tb testing.TB) *Network {
	tb.Helper()
	n := &Network{recorder: &etcdtest.Recorder{Forget: true}}
	n.way, n.config = c.server.connect(tb)
	n.config.DialOptions = append(n.config.DialOptions, n.recorder.DialOptions()...)
	tb.Cleanup(n.Heal)
	return n
}

// Config returns the configuration of a client on this network, for code that makes its
// own: change what it needs (user, password, keep-alive times), give it to
// [clientv3.New], close the client before the test ends. Endpoints carry the faults of
// the network by themselves; those of single requests, [Network.StallWatches] and
// [Network.DropReply], are in DialOptions. So is a shorter pause between attempts to
// connect than gRPC's of a second and more: up to 100 ms.
func (n *Network) Config() clientv3.Config {
	cfg := n.config
	cfg.Endpoints = slices.Clone(cfg.Endpoints)
	cfg.DialOptions = slices.Clone(cfg.DialOptions)
	return cfg
}

// Client returns a client on this network that lives as long as the test.
func (n *Network) Client(tb testing.TB) *clientv3.Client {
	tb.Helper()
	client, err := clientv3.New(n.Config())
	if err != nil {
		tb.Fatalf("conclavetest: client: %v", err)
	}
	tb.Cleanup(func() { _ = client.Close() }) // the test may have closed it
	return client
}

// Cut lets nothing pass in either direction. What is sent meanwhile arrives after
// [Network.Heal], requests whose callers have long given up included.
func (n *Network) Cut() { n.way.Cut() }

// CutToServer stops everything that clients send. Replies and events still arrive.
func (n *Network) CutToServer() { n.way.CutToServer() }

// CutToClient stops everything that members send. Requests still take effect.
func (n *Network) CutToClient() { n.way.CutToClient() }

// CutMember cuts the connection to one member; clients can go on with the others.
func (n *Network) CutMember(tb testing.TB, i int) {
	tb.Helper()
	if size := len(n.config.Endpoints); i < 0 || i >= size {
		tb.Fatalf("conclavetest: member %d: must be 0 to %d", i, size-1)
	}
	n.way.CutMember(i)
}

// Slow delays everything by d in each direction, so a call takes 2d longer; 0 ends it.
// Nothing is lost and the order is kept.
func (n *Network) Slow(tb testing.TB, d time.Duration) {
	tb.Helper()
	if d < 0 {
		tb.Fatalf("conclavetest: delay %v: must not be negative", d)
	}
	if err := n.way.Delay(d); err != nil {
		tb.Fatalf("conclavetest: slowing the network: %v", err)
	}
}

// Limit limits the bytes a second that pass to each member, and likewise from it; 0 removes
// the limit. Everything beyond it waits.
func (n *Network) Limit(tb testing.TB, bytesPerSecond int) {
	tb.Helper()
	if bytesPerSecond < 0 {
		tb.Fatalf("conclavetest: %d bytes a second: must not be negative", bytesPerSecond)
	}
	if err := n.way.Rate(bytesPerSecond); err != nil {
		tb.Fatalf("conclavetest: limiting the network: %v", err)
	}
}

// Reset breaks every connection in a way that both sides see, and what was held back is
// lost. New connections work, unless the network is cut.
func (n *Network) Reset() { n.way.Reset() }

// StallWatches lets no watch deliver anything, those opened later included, while
// everything else works: a member that has stopped serving its watches, which a watch
// cannot tell from a quiet time. The client's Watch, which waits for the word that the
// watch exists, hangs. [Network.Heal] delivers what was held back.
func (n *Network) StallWatches() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.resume = n.recorder.Stall("Watch")
}

// Heal ends every fault but those of [Network.DropReply] and [Network.RefuseCall], which end themselves.
func (n *Network) Heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.resume != nil {
		n.resume()
		n.resume = nil
	}
	n.way.Heal()
}

// droppable are the methods whose replies can be dropped, by what sends them: KV and
// leases of clientv3.
func droppable() []string {
	return []string{
		"Txn", "Put", "Range", "DeleteRange",
		"LeaseGrant", "LeaseRevoke", "LeaseTimeToLive", "LeaseLeases",
	}
}

// DropReply lets the next request of a method be carried out, but its reply be lost: the
// client gets the error of a broken connection, and cannot know what has happened. The
// channel is closed when the reply is lost. Requests that fail by themselves do not count.
//
// The method is one of "Txn", which is what locks and elections write with, "Put",
// "Range" (a Get), "DeleteRange" (a Delete), "LeaseGrant", "LeaseRevoke",
// "LeaseTimeToLive" and "LeaseLeases". The client itself repeats reads.
func (n *Network) DropReply(tb testing.TB, method string) (dropped <-chan struct{}) {
	tb.Helper()
	if !slices.Contains(droppable(), method) {
		tb.Fatalf("conclavetest: method %q: must be one of %s", method, strings.Join(droppable(), ", "))
	}
	return n.recorder.DropReplies(method, 1)
}

// RefuseCall lets the next request of a method, one of those of [Network.DropReply], fail
// with err without being carried out, as with a member that denies a permission or has no
// space. The channel is closed when that has happened. err is what a server sends, for
// instance rpctypes.ErrGRPCPermissionDenied or an error of package status; clients see it
// as they see a server's.
func (n *Network) RefuseCall(tb testing.TB, method string, err error) (refused <-chan struct{}) {
	tb.Helper()
	if !slices.Contains(droppable(), method) {
		tb.Fatalf("conclavetest: method %q: must be one of %s", method, strings.Join(droppable(), ", "))
	}
	if err == nil {
		tb.Fatalf("conclavetest: refusing %s: error is nil", method)
	}
	return n.recorder.RefuseCalls(method, 1, err)
}
