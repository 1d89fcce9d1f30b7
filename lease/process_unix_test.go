//go:build unix

package lease_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/inside"
	"github.com/conclave-go/conclave/lease"
)

// A leader stopped for longer than its election timeout finds, when it goes on, the
// renewal that has come in meanwhile, and as a rule acknowledges it before it has
// heard that it was deposed.
func TestARenewalAcknowledgedByAStoppedLeaderDoesNotCount(t *testing.T) {
	t.Parallel()
	const tries = 30
	c := etcdtest.NewProcesses(t)
	for try := range tries {
		if stopLeaderDuringRenewal(t, c) {
			t.Logf("witnessed at try %d", try+1)
			return
		}
	}
	t.Skipf("in %d tries no deposed leader acknowledged anything", tries)
}

// stopLeaderDuringRenewal reports whether the deposed leader acknowledged the
// renewal it got while it was stopped. It fails the test if that has counted.
func stopLeaderDuringRenewal(t *testing.T, c *etcdtest.Processes) bool {
	t.Helper()
	leader := c.Leader(t)
	var rec etcdtest.Recorder
	p := newPulse()
	l := newLease(t, c.Client(t, leader, etcdtest.WithRecorder(&rec)), lease.WithTTL(20*time.Second), p.observe())
	p.round(t, l)
	before := lastAcknowledgement(&rec).Header.RaftTerm
	deadline := l.Deadline()
	rec.Reset()

	c.Stop(t, leader)
	inside.Keys(l).Hurry()
	eventually(t, func() bool { return rec.Count("LeaseKeepAlive") >= 1 }, "the renewal is sent")
	var now uint64
	eventually(t, func() bool {
		now = c.Term(t, (leader+1)%3)
		return now > before
	}, "a new leader")
	require.Equal(t, deadline, l.Deadline())
	c.Continue(t, leader)
	await(t, p.renewed, "a renewal that counts")
	require.True(t, l.Deadline().After(deadline))

	witnessed := false
	for _, call := range rec.Calls() {
		if resp, ok := call.Response.(*pb.LeaseKeepAliveResponse); ok {
			witnessed = witnessed || resp.Header.RaftTerm < now
		}
	}
	require.GreaterOrEqual(t, lastAcknowledgement(&rec).Header.RaftTerm, now, "the one that counts is of the new term")
	require.NoError(t, l.Close(guarded(t)))
	return witnessed
}
