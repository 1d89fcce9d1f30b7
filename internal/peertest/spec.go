package peertest

import (
	"context"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/spec"
)

// WithoutSpec leaves what a peer does unchecked against the specification, for tests that do
// with its client, or to the server's answers, what the specification does not know. why is
// for the reader.
func WithoutSpec(why string) Option { return func(c *config) { c.unspecified = why } }

// scheduled is how late after a deadline a grant may be told on a busy machine.
const scheduled = 2 * time.Second

// specified reports whether runs are checked: CONCLAVE_SPEC=1.
func specified() bool { return os.Getenv("CONCLAVE_SPEC") != "" }

// Specified returns a process of what the test does on the cluster: its messages and its
// session's events are checked against the specification at the end of the test. Its dial
// options are the first of its client. Without CONCLAVE_SPEC it is nil: nothing is checked.
func Specified(tb testing.TB, c *etcdtest.Cluster) *spec.Process {
	tb.Helper()
	if !specified() {
		return nil
	}
	return checkedRun(tb, c).Process()
}

// SpecifiedAlone is [Specified] for a process in virtual time, of which the store's history
// is not known.
func SpecifiedAlone(tb testing.TB) *spec.Process {
	tb.Helper()
	if !specified() {
		return nil
	}
	r := spec.NewRun()
	tb.Cleanup(func() { check(tb, r, spec.History{}) })
	return r.Process()
}

func check(tb testing.TB, r *spec.Run, h spec.History) {
	tb.Helper()
	for _, v := range r.Check(h) {
		tb.Errorf("the run left the specification: %v", v)
	}
}

// runs are those of tests that go on.
//
//nolint:gochecknoglobals // the peers of a test do not know of each other
var runs struct {
	mu  sync.Mutex
	all map[runOf]*spec.Run
}

type runOf struct {
	test    string
	cluster *etcdtest.Cluster
}

// checkedRun returns the run of a test on a cluster, which is checked at the end of the
// test.
func checkedRun(tb testing.TB, c *etcdtest.Cluster) *spec.Run {
	tb.Helper()
	runs.mu.Lock()
	defer runs.mu.Unlock()
	key := runOf{tb.Name(), c}
	if r := runs.all[key]; r != nil {
		return r
	}
	if runs.all == nil {
		runs.all = make(map[runOf]*spec.Run)
	}
	r := spec.NewRun()
	r.Slack = scheduled
	runs.all[key] = r
	history := recordHistory(tb, c)
	tb.Cleanup(func() {
		runs.mu.Lock()
		delete(runs.all, key)
		runs.mu.Unlock()
		check(tb, r, history.upTo(r.Revision()))
	})
	return r
}

// chronicle records what happens in a store.
type chronicle struct {
	stop func()

	mu      sync.Mutex
	history spec.History
	changed chan struct{} // closed when there is more
}

// recordHistory records the history of a cluster from now on, if that may be read.
func recordHistory(tb testing.TB, c *etcdtest.Cluster) *chronicle {
	tb.Helper()
	h := &chronicle{changed: make(chan struct{})}
	client, err := c.NewClient(etcdtest.WithFastReconnect())
	require.NoError(tb, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(tb.Context()))
	var reading sync.WaitGroup
	h.stop = func() {
		cancel()
		reading.Wait()
		_ = client.Close() // it says that it was closed
	}
	before, stop := context.WithTimeout(ctx, patience)
	defer stop()
	resp, err := client.Get(before, "", clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByModRevision, clientv3.SortAscend))
	if err != nil { // not permitted, or nobody is there
		return h
	}
	for _, kv := range resp.Kvs {
		h.history.Changes = append(h.history.Changes, spec.Put(kv))
	}
	h.history.Known, h.history.Revision = true, resp.Header.Revision
	reading.Go(func() {
		for resp := range client.Watch(ctx, "", clientv3.WithPrefix(), clientv3.WithRev(resp.Header.Revision+1)) {
			h.add(resp.Events)
		}
	})
	return h
}

func (h *chronicle) add(events []*clientv3.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, ev := range events {
		h.history.Add(ev)
	}
	close(h.changed)
	h.changed = make(chan struct{})
}

// patience is how long the end of a history is waited for. One that ends earlier, since
// the cluster is gone or has forgotten it, is checked as far as it goes.
const patience = 5 * time.Second

// upTo ends the recording when it has come to a revision, and returns it.
func (h *chronicle) upTo(rev int64) spec.History {
	end := time.NewTimer(patience)
	defer end.Stop()
	defer h.stop()
	for {
		h.mu.Lock()
		history, changed := h.history, h.changed
		h.mu.Unlock()
		if !history.Known || history.Revision >= rev {
			return history
		}
		select {
		case <-changed:
		case <-end.C:
			return history
		}
	}
}
