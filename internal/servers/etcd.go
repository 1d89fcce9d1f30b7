package servers

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/conclave-go/conclave/internal/netfault"
	"github.com/conclave-go/conclave/internal/ports"
	"github.com/conclave-go/conclave/internal/process"
	"github.com/conclave-go/conclave/internal/tempdir"
)

const (
	// members is the size of a cluster by default.
	members = 3
	// startTimeout bounds the start of a member; startTries is how often a cluster is
	// started anew when another program has taken one of its ports.
	startTimeout = 3 * time.Minute
	startTries   = 5
	// leaderPoll is how often is asked who leads.
	leaderPoll = 20 * time.Millisecond
)

// Etcd is a cluster, each member of which is a process. Use StartEtcd.
type Etcd struct {
	dir    *tempdir.Dir
	client *clientv3.Client
	list   []*member
	spare  *member // the last of list, which is a learner once it has joined; nil without one
}

// member is one of them, seen from outside.
type member struct {
	job   memberJob
	id    uint64
	lives int             // how many members there have been in its place
	peers *netfault.Proxy // in front of its peer address; nil without one

	mu      sync.Mutex
	process *process.Process // nil while it is down
	ready   chan uint64
	ended   chan string
}

// StartEtcd starts a cluster, of three members that do not write to disk unless options
// say otherwise, and returns when all of them serve. ctx bounds the start.
func StartEtcd(ctx context.Context, opts ...Option) (*Etcd, error) {
	var errs []error
	for range startTries {
		e, err := startEtcd(ctx, newConfig(opts))
		if err == nil {
			return e, nil
		}
		if errs = append(errs, err); !strings.Contains(err.Error(), "address already in use") {
			break
		}
	}
	return nil, fmt.Errorf("starting etcd: %w", errors.Join(errs...))
}

func startEtcd(ctx context.Context, cfg config) (*Etcd, error) {
	dir, err := tempdir.MakeIn(cfg.parent, "etcd")
	if err != nil {
		return nil, err
	}
	e := &Etcd{dir: dir}
	for i := range cfg.members {
		m, err := newMember(i, dir.Path(), cfg)
		if err != nil {
			return nil, errors.Join(err, e.Close())
		}
		e.list = append(e.list, m)
	}
	for _, m := range e.list {
		m.job.Cluster = e.founders()
		if err := m.start(); err != nil {
			return nil, errors.Join(err, e.Close())
		}
	}
	for _, m := range e.list {
		if err := m.await(ctx); err != nil {
			return nil, errors.Join(err, e.Close())
		}
	}
	e.client, err = clientv3.New(clientv3.Config{Endpoints: e.Endpoints(), Logger: zap.NewNop(), DialTimeout: 5 * time.Second})
	if err != nil {
		return nil, errors.Join(err, e.Close())
	}
	if cfg.spare {
		if e.spare, err = newMember(len(e.list), dir.Path(), cfg); err != nil {
			return nil, errors.Join(err, e.Close())
		}
		e.list = append(e.list, e.spare)
	}
	return e, nil
}

// newMember gives a member its addresses.
func newMember(i int, dir string, cfg config) (*member, error) {
	m := &member{job: memberJob{
		Name: memberName(i), Dir: filepath.Join(dir, memberName(i)), Token: filepath.Base(dir),
		Fsync: cfg.fsync, Snapshots: cfg.snapshots, Binary: cfg.binary,
	}}
	if err := m.settle(); err != nil || !cfg.proxied {
		return m, err
	}
	var err error
	if m.peers, err = netfault.Start(m.job.Listen); err != nil {
		m.leave()
		return nil, err
	}
	m.job.Peer = m.peers.Addr()
	return m, nil
}

// founders is the cluster as etcd's configuration has it.
func (e *Etcd) founders() string {
	var all []string
	for _, m := range e.list {
		all = append(all, m.job.Name+"=http://"+m.job.Peer)
	}
	return strings.Join(all, ",")
}

// settle gives a member addresses, which are kept for it until leave, also while it is down.
func (m *member) settle() error {
	kept, err := ports.Etcd.Keep(2)
	if err != nil {
		return err
	}
	m.job.Client, m.job.Listen = ports.Address(kept[0]), ports.Address(kept[1])
	m.job.Peer = m.job.Listen
	return nil
}

// leave gives the member's addresses back.
func (m *member) leave() {
	ports.Release(ports.Of(m.job.Client), ports.Of(m.job.Listen))
	m.job.Client, m.job.Listen = "", ""
}

// start starts the member's process.
func (m *member) start() (err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	ready, ended := make(chan uint64, 1), make(chan string, 1)
	m.ready, m.ended = ready, ended
	m.process, err = process.Start(m.job.Name, MemberRole, m.job,
		func(r memberReport) { ready <- r.ID },
		func(detail string) { ended <- detail })
	return err
}

// await returns when the member serves.
func (m *member) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("%s is not ready after %s", m.job.Name, startTimeout))
	defer cancel()
	if m.job.Binary != "" {
		go m.announce(ctx, m.ready)
	}
	select {
	case m.id = <-m.ready:
		return nil
	case detail := <-m.ended:
		return errors.New(detail)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// running returns the member's process, nil if it is down.
func (m *member) running() *process.Process {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.process
}

// Endpoints returns the members' client addresses.
func (e *Etcd) Endpoints() []string {
	var all []string
	for _, m := range e.list {
		all = append(all, m.job.Client)
	}
	return all
}

// Client returns a client of all members, which is closed with the cluster.
func (e *Etcd) Client() *clientv3.Client { return e.client }

// Close kills all members and removes their data. The error says which of them had ended by
// themselves, and how.
func (e *Etcd) Close() error {
	var errs []error
	if e.client != nil {
		errs = append(errs, e.client.Close())
	}
	for _, m := range e.list {
		errs = append(errs, m.kill())
		m.leave()
		if m.peers != nil {
			errs = append(errs, m.peers.Close())
		}
	}
	return errors.Join(append(errs, e.dir.Remove())...)
}

// Kill ends member i at once. That it had ended by itself is an error, which says how.
func (e *Etcd) Kill(i int) error { return e.list[i].kill() }

func (m *member) kill() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.process == nil {
		return nil
	}
	err := m.process.Kill()
	m.process.Wait()
	m.process = nil
	select {
	case detail := <-m.ended:
		if detail != "" {
			err = errors.Join(err, errors.New(detail))
		}
	default: // whoever waited for it to serve has told
	}
	return err
}

// Restart starts member i again, on its data, and returns when it serves.
func (e *Etcd) Restart(ctx context.Context, i int) error {
	if err := e.Kill(i); err != nil {
		return err
	}
	if err := e.list[i].start(); err != nil {
		return err
	}
	return e.list[i].await(ctx)
}

// Pause stops member i with SIGSTOP: its connections stay open and silent.
func (e *Etcd) Pause(ctx context.Context, i int) error { return e.list[i].running().Pause(ctx) }

// Resume continues it.
func (e *Etcd) Resume(i int) error { return e.list[i].running().Resume() }

// Leader returns the index of the member that leads, when there is one.
func (e *Etcd) Leader(ctx context.Context) (int, error) {
	for {
		for _, m := range e.list {
			if m.running() == nil {
				continue
			}
			if i, ok := e.leaderOf(ctx, m); ok {
				return i, nil
			}
		}
		select {
		case <-time.After(leaderPoll):
		case <-ctx.Done():
			return 0, fmt.Errorf("no leader: %w", context.Cause(ctx))
		}
	}
}

// leaderOf asks a member who leads.
func (e *Etcd) leaderOf(ctx context.Context, m *member) (int, bool) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	status, err := e.client.Status(ctx, m.job.Client)
	if err != nil {
		return 0, false
	}
	for i, other := range e.list {
		if other.id == status.Leader && other.running() != nil {
			return i, true
		}
	}
	return 0, false
}

// voters returns how many members vote.
func (e *Etcd) voters() int {
	if e.spare != nil {
		return len(e.list) - 1
	}
	return len(e.list)
}

// MoveLeader hands the leadership to another member.
func (e *Etcd) MoveLeader(ctx context.Context) error {
	i, err := e.Leader(ctx)
	if err != nil {
		return err
	}
	leader, err := clientv3.New(clientv3.Config{Endpoints: []string{e.list[i].job.Client}, Logger: zap.NewNop(), DialTimeout: 5 * time.Second})
	if err != nil {
		return err
	}
	_, err = leader.MoveLeader(ctx, e.list[(i+1)%e.voters()].id)
	return errors.Join(err, leader.Close())
}

// Compact compacts the history up to the present revision.
func (e *Etcd) Compact(ctx context.Context) error {
	resp, err := e.client.Get(ctx, "\x00", clientv3.WithCountOnly())
	if err != nil {
		return err
	}
	_, err = e.client.Compact(ctx, resp.Header.Revision)
	return err
}
