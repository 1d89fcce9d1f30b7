package etcdtest

import (
	"context"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"

	"github.com/conclave-go/conclave/internal/ports"
	"github.com/conclave-go/conclave/internal/proctest"
)

const (
	memberRole = "etcdtest.member"
	// processes is how many members a cluster of processes has.
	processes = 3
	// statusTimeout is how long a member may take to say how it is.
	statusTimeout = time.Second
	// statusPoll is between two questions for the leader.
	statusPoll = 2 * time.Millisecond
)

// Roles are those of [proctest.Play] that [NewProcesses] needs.
func Roles() proctest.Roles {
	return proctest.Roles{memberRole: func(ctx context.Context, _ *proctest.Line, args []string) error {
		return serveMember(ctx, args[0], args[1], args[2], args[3])
	}}
}

// serveMember serves until ctx ends.
func serveMember(ctx context.Context, name, dir, client, initial string) error {
	cfg := embed.NewConfig()
	cfg.Name, cfg.Dir, cfg.InitialCluster = name, dir, initial
	for member := range strings.SplitSeq(initial, ",") {
		if of, at, _ := strings.Cut(member, "="); of == name {
			peer, err := url.Parse(at)
			if err != nil {
				return err
			}
			cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{*peer}, []url.URL{*peer}
		}
	}
	at, err := url.Parse(client)
	if err != nil {
		return err
	}
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{*at}, []url.URL{*at}
	cfg.TickMs, cfg.ElectionMs = tickMs, electionMs
	cfg.UnsafeNoFsync = true
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	etcd, err := embed.StartEtcd(cfg)
	if err != nil {
		return err
	}
	defer etcd.Close()
	select {
	case err = <-etcd.Err():
		return err
	case <-ctx.Done():
		return nil
	}
}

// Processes is a cluster of three members in processes of their own, which can be
// stopped: a leader that hangs, and does not know afterwards that it did.
type Processes struct {
	members []*proctest.Process
	clients []*clientv3.Client // one per member
}

// NewProcesses starts a cluster that lives as long as the test. The test binary has to play
// [Roles].
func NewProcesses(tb testing.TB) *Processes {
	tb.Helper()
	kept, err := ports.Etcd.Keep(2 * processes)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { ports.Release(kept...) })
	var peers []string
	for i := range processes {
		at := localURL(kept[processes+i])
		peers = append(peers, memberName(i)+"="+at.String())
	}
	dir := tb.TempDir()
	p := &Processes{}
	for i := range processes {
		name, client := memberName(i), localURL(kept[i])
		p.members = append(p.members,
			proctest.Start(tb, memberRole, name, filepath.Join(dir, name), client.String(), strings.Join(peers, ",")))
		p.clients = append(p.clients, p.client(tb, client.Host))
	}
	for i := range processes {
		p.await(tb, fmt.Sprintf("member %d knows no leader", i), func() bool { return p.Term(tb, i) > 0 })
	}
	return p
}

func (p *Processes) client(tb testing.TB, endpoint string, opts ...ClientOption) *clientv3.Client {
	tb.Helper()
	return (&Cluster{endpoints: []string{endpoint}}).Client(tb, opts...)
}

// Client returns a client of member i that lives as long as the test.
func (p *Processes) Client(tb testing.TB, i int, opts ...ClientOption) *clientv3.Client {
	tb.Helper()
	return p.client(tb, p.clients[i].Endpoints()[0], opts...)
}

// Stop suspends member i, and returns when it is.
func (p *Processes) Stop(tb testing.TB, i int) {
	tb.Helper()
	tb.Cleanup(func() { p.members[i].Continue(tb) }) // for clean-ups that need it, after a failure
	p.members[i].Stop(tb)
}

// Continue ends [Processes.Stop].
func (p *Processes) Continue(tb testing.TB, i int) {
	tb.Helper()
	p.members[i].Continue(tb)
}

// Term returns the term of the leader that member i follows, 0 if it has none or does
// not answer.
func (p *Processes) Term(tb testing.TB, i int) uint64 {
	tb.Helper()
	if s := p.status(tb, i); s != nil && s.Leader != 0 {
		return s.RaftTerm
	}
	return 0
}

// Leader waits until a member leads and returns its index.
func (p *Processes) Leader(tb testing.TB) int {
	tb.Helper()
	leader := -1
	p.await(tb, "no leader", func() bool {
		for i := range p.members {
			if s := p.status(tb, i); s != nil && s.Leader == s.Header.MemberId {
				leader = i
				return true
			}
		}
		return false
	})
	return leader
}

// status is what a member says of itself; nil when it does not answer.
func (p *Processes) status(tb testing.TB, i int) *clientv3.StatusResponse {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), statusTimeout)
	defer cancel()
	resp, err := p.clients[i].Status(ctx, p.clients[i].Endpoints()[0])
	if err != nil {
		return nil
	}
	return resp
}

func (p *Processes) await(tb testing.TB, otherwise string, ok func() bool) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), readyTimeout)
	defer cancel()
	ticker := time.NewTicker(statusPoll)
	defer ticker.Stop()
	for !ok() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			tb.Fatalf("etcdtest: %s: %v", otherwise, ctx.Err())
		}
	}
}
