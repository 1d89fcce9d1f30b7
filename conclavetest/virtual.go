package conclavetest

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/vtime"
)

// errOneMember is why a cluster in virtual time has nothing to move its leader to.
var errOneMember = errors.New("conclavetest: a cluster in virtual time has one member")

// errNoTime is why a network in virtual time is not slow.
var errNoTime = errors.New("conclavetest: messages take no time in virtual time")

// VirtualCluster calls fn in a [testing/synctest] bubble with an etcd of one member, in
// which time passes only while everybody waits: hours take less than a second,
// durations are exact, and no load on the machine can fail the test. The server is
// the genuine one, with the shortest TTL of [MinTTL]; clients reach it by pipes. All
// methods of [Cluster] and [Network] work as in real time, except that
// [Cluster.MoveLeader] has nowhere to go, [Cluster.Isolate] nobody to cut off,
// [Cluster.Endpoints] are none, and [Network.Slow] and [Network.Limit] fail the test.
//
// When fn and the functions it gave to t.Cleanup have returned, every goroutine of the
// bubble must end; one that sleeps has a minute. The package comment has the rules for
// what fn may do.
func VirtualCluster(t *testing.T, fn func(t *testing.T, c *Cluster)) {
	t.Helper()
	virtualCluster(t, fn)
}

func virtualCluster(t *testing.T, fn func(t *testing.T, c *Cluster), opts ...vtime.Option) {
	t.Helper()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		t.Helper()
		fn(t, &Cluster{server: virtualServer{s}, operator: s.Client()})
	}, opts...)
}

// Advance lets d of virtual time pass, and returns when everything that this has set off
// in the bubble has come to rest. It panics in real time. Only one goroutine of a bubble
// may call it at a time.
func Advance(d time.Duration) {
	synctest.Wait() // panics in real time, before that sleeps
	vtime.Advance(d)
}

// virtualServer is the one member in virtual time.
type virtualServer struct{ *vtime.Server }

// Endpoints returns none.
func (s virtualServer) Endpoints() []string { return nil }

// Size returns 1.
func (s virtualServer) Size() int { return 1 }

// Running reports whether the member is running.
func (s virtualServer) Running(int) bool { return s.Etcd() != nil }

// WaitLeader returns the member, which leads while it runs.
func (s virtualServer) WaitLeader(context.Context, ...int) (int, error) {
	if !s.Running(0) {
		return -1, errors.New("conclavetest: the only member is stopped")
	}
	return 0, nil
}

// MoveLeader fails.
func (s virtualServer) MoveLeader(context.Context) error { return errOneMember }

// Isolate fails.
func (s virtualServer) Isolate(int) error { return errOneMember }

// HealLinks does nothing: there are none.
func (s virtualServer) HealLinks() {}

// Stop stops the member.
func (s virtualServer) Stop(context.Context, int) error { return s.Kill(0) }

// Kill stops the member.
func (s virtualServer) Kill(int) error {
	s.Server.Stop()
	return nil
}

// Restart starts the member.
func (s virtualServer) Restart(context.Context, int) error {
	s.Start()
	return nil
}

// Compact compacts up to the present revision.
func (s virtualServer) Compact(ctx context.Context) error {
	if !s.Running(0) {
		return errors.New("conclavetest: the only member is stopped")
	}
	s.Server.Compact(ctx)
	return nil
}

// Close does nothing: the end of the test does it.
func (s virtualServer) Close() error { return nil }

// connect returns the pipes of one client.
func (s virtualServer) connect(tb testing.TB) (way, clientv3.Config) {
	tb.Helper()
	cfg, cut := s.CutConfig()
	return pipes{cut}, cfg
}

// pipes hold what does not pass, as TCP does.
type pipes struct{ cut *vtime.Cut }

// Cut holds everything.
func (p pipes) Cut() { p.cut.Hold() }

// CutToServer holds what the client sends.
func (p pipes) CutToServer() { p.cut.HoldToServer() }

// CutToClient holds what the server sends.
func (p pipes) CutToClient() { p.cut.HoldToClient() }

// CutMember cuts off the only member.
func (p pipes) CutMember(int) { p.cut.Hold() }

// Delay fails.
func (p pipes) Delay(time.Duration) error { return errNoTime }

// Rate fails.
func (p pipes) Rate(int) error { return errNoTime }

// Reset breaks the connections.
func (p pipes) Reset() { p.cut.Reset() }

// Heal lets everything pass.
func (p pipes) Heal() { p.cut.Heal() }
