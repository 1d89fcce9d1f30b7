package chaos

import (
	"context"
	"errors"
	"sync"

	"github.com/conclave-go/conclave/internal/chaos/history"
	"github.com/conclave-go/conclave/internal/chaos/worker"
	"github.com/conclave-go/conclave/internal/process"
	"github.com/conclave-go/conclave/internal/servers"
)

// Main makes the program one of the lab's processes if the environment says so. It
// belongs at the very beginning of main and TestMain of whoever calls [Run]. Peers make
// the locks of the schedule's Peers.
func Main(peers worker.Peers) {
	process.Main(map[string]process.Role{
		worker.Role: worker.Main(peers), worker.ResourceRole: worker.ResourceMain, servers.MemberRole: servers.Member,
	})
}

// arena is the servers that locks are kept on, and the resource. Those of a kind are
// started when they are first needed. Use newArena.
type arena struct {
	resource *resource
	replica  bool
	options  []servers.Option // of the cluster
	err      error            // why there is none

	mu      sync.Mutex
	cluster *servers.Etcd
	nodes   map[int]*servers.Redis // by how many there are
	primary int                    // which of the nodes of a replica serves
}

// snapshots is after how many entries a member that was away is sent a snapshot, where
// that is to happen.
const snapshots = 50

// newArena has what the entry's faults need.
func newArena(r *resource, e Entry) *arena {
	a := &arena{resource: r, replica: e.Replica, nodes: make(map[int]*servers.Redis)}
	if e.has(slowPeers) {
		a.options = append(a.options, servers.WithPeerProxies())
	}
	if e.has(addLearner) {
		a.options = append(a.options, servers.WithLearner())
	}
	if e.has(awayMember) {
		a.options = append(a.options, servers.WithSnapshots(snapshots))
	}
	if e.Etcd != "" {
		var binary string
		binary, a.err = servers.Binary(e.Etcd)
		a.options = append(a.options, servers.WithBinary(binary))
	}
	return a
}

// etcd returns the cluster.
func (a *arena) etcd(ctx context.Context) (*servers.Etcd, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err != nil {
		return nil, a.err
	}
	if a.cluster == nil {
		c, err := servers.StartEtcd(ctx, a.options...)
		if err != nil {
			return nil, err
		}
		a.cluster = c
	}
	return a.cluster, nil
}

// redis returns n nodes; with a replica, two instead of one.
func (a *arena) redis(ctx context.Context, n int) (*servers.Redis, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.nodes[n] != nil {
		return a.nodes[n], nil
	}
	size := n
	if a.replica {
		size = 2
	}
	r, err := servers.StartRedis(ctx, size)
	if err != nil {
		return nil, err
	}
	a.nodes[n] = r
	if a.replica {
		return r, r.Replicate(ctx, 0, 1)
	}
	return r, nil
}

// close ends the servers.
func (a *arena) close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	var errs []error
	if a.cluster != nil {
		errs = append(errs, a.cluster.Close())
	}
	for _, r := range a.nodes {
		errs = append(errs, r.Close())
	}
	return errors.Join(errs...)
}

// resource is the process with the registers, whose verdicts go to the logs of the
// locks. Use startResource.
type resource struct {
	process *process.Process
	addr    string

	mu    sync.Mutex
	logs  map[string]*history.Log // by lock
	ended string                  // how, if that was not in good order
}

func startResource(ctx context.Context) (*resource, error) {
	r := &resource{logs: make(map[string]*history.Log)}
	ready := make(chan string, 1)
	var err error
	r.process, err = process.Start("resource", worker.ResourceRole, struct{}{}, func(e history.Event) {
		if e.Kind == history.Ready {
			ready <- e.Detail
			return
		}
		r.mu.Lock()
		log := r.logs[e.Lock]
		r.mu.Unlock()
		if log != nil {
			log.Add(e)
		}
	}, func(detail string) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.ended = detail
		close(ready)
	})
	if err != nil {
		return nil, err
	}
	select {
	case r.addr = <-ready:
	case <-ctx.Done():
	}
	if r.addr == "" {
		return nil, errors.Join(errors.New("the resource did not start"), context.Cause(ctx), r.close())
	}
	return r, nil
}

// record lets the verdicts on a lock go to its log.
func (r *resource) record(lock string, log *history.Log) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.logs[lock] = log
}

// close ends the resource. That it has ended before is an error: what was written since was
// not judged.
func (r *resource) close() error {
	err := r.process.Quit()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended != "" {
		err = errors.Join(err, errors.New(r.ended))
	}
	return err
}
