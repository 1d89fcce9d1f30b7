package shard_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
	"github.com/conclave-go/conclave/shard"
)

const (
	group = "jobs"
	ttl   = 10 * time.Second
)

// ledger knows who has owned what, and notes when two did at a time, or a token has not
// risen.
type ledger struct {
	mu     sync.Mutex
	last   map[shard.ID]*shard.Ownership
	owner  map[shard.ID]string
	grants int
	wrong  []string
	// overruled is set once an operator has taken what was owned: two may own then, until
	// the first hears of it.
	overruled bool
}

func newLedger() *ledger {
	return &ledger{last: map[shard.ID]*shard.Ownership{}, owner: map[shard.ID]string{}}
}

// begin notes that a member has come to own a shard.
func (l *ledger) begin(member string, o *shard.Ownership) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if before := l.last[o.Shard()]; before != nil {
		if !l.overruled && before.Err() == nil && before.Remaining() > 0 {
			l.wrong = append(l.wrong, fmt.Sprintf("shard %d: %s and %s at a time", o.Shard(), l.owner[o.Shard()], member))
		}
		if before.Token() >= o.Token() {
			l.wrong = append(l.wrong, fmt.Sprintf("shard %d: token %v after %v", o.Shard(), o.Token(), before.Token()))
		}
	}
	l.last[o.Shard()], l.owner[o.Shard()] = o, member
	l.grants++
}

// overrule notes that an operator takes what is owned.
func (l *ledger) overrule() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.overruled = true
}

// granted returns how often a shard was.
func (l *ledger) granted() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.grants
}

// owners returns who owns each shard now.
func (l *ledger) owners(n int) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]string, n)
	for id, o := range l.last {
		if o.Err() == nil {
			all[id] = l.owner[id]
		}
	}
	return all
}

// fleet is the members of a group, each with a client and a session of its own, in virtual
// time.
type fleet struct {
	t      *testing.T
	server *vtime.Server
	ledger *ledger
	shards int
}

func newFleet(t *testing.T, s *vtime.Server, shards int) *fleet {
	t.Helper()
	f := &fleet{t: t, server: s, ledger: newLedger(), shards: shards}
	t.Cleanup(func() { require.Empty(t, f.ledger.wrong) })
	return f
}

// peer is a process of a fleet.
type peer struct {
	*shard.Member

	f       *fleet
	session *lease.Session
	client  *clientv3.Client
	cut     *vtime.Cut
	rec     *etcdtest.Recorder
	crashed atomic.Bool
}

// serve is a function that does as it is told.
func (f *fleet) serve(name string) shard.OwnFunc {
	return func(ctx context.Context, o *shard.Ownership) error {
		f.ledger.begin(name, o)
		select {
		case <-o.Leaving():
		case <-ctx.Done():
		}
		return nil
	}
}

// process returns a process that is no member yet.
func (f *fleet) process(opts ...lease.Option) *peer {
	f.t.Helper()
	rec := &etcdtest.Recorder{Forget: true}
	client, cut := f.server.CutClient(vtime.WithDialOptions(rec.DialOptions()...))
	session, err := lease.NewSession(f.t.Context(), client, append(opts, lease.WithTTL(ttl))...)
	require.NoError(f.t, err)
	p := &peer{f: f, client: client, cut: cut, session: session, rec: rec}
	f.t.Cleanup(func() { // for a test that has failed
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if p.Member != nil {
			_ = p.Close(ctx)
		}
		_ = session.Close(ctx)
	})
	return p
}

// join has a new process join, with a function that does as it is told.
func (f *fleet) join(name string, opts ...shard.Option) *peer {
	f.t.Helper()
	return f.joinWith(name, f.serve(name), opts...)
}

// joinWith has a new process join with another function.
func (f *fleet) joinWith(name string, own shard.OwnFunc, opts ...shard.Option) *peer {
	f.t.Helper()
	p := f.process()
	var err error
	p.Member, err = shard.Join(f.t.Context(), p.session, group, name, own, append([]shard.Option{shard.WithShards(f.shards)}, opts...)...)
	require.NoError(f.t, err)
	return p
}

// stop closes what the process has.
func (p *peer) stop() {
	p.f.t.Helper()
	require.NoError(p.f.t, p.Close(p.f.t.Context()))
	require.NoError(p.f.t, p.session.Close(p.f.t.Context()))
}

// stopAll closes processes at once.
func stopAll(all ...*peer) {
	var wg sync.WaitGroup
	for _, p := range all {
		wg.Go(p.stop)
	}
	wg.Wait()
}

// settled lets time pass until nothing moves, and returns who owns what.
func (f *fleet) settled() []string {
	f.t.Helper()
	vtime.Advance(5 * time.Second)
	return f.ledger.owners(f.shards)
}

// lockOf is the name of a shard's lock.
func lockOf(id shard.ID) string { return fmt.Sprintf("%s/shard/%d", group, id) }

// gaps says how often a shard had no owner between two, by the history of its lock: an
// owner's key was deleted while nobody else waited.
func gaps(t *testing.T, client *clientv3.Client, since int64) (gaps, handOvers int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	head, err := client.Get(ctx, "x")
	require.NoError(t, err)
	queues := map[string][]string{}
	resp, err := client.Get(ctx, group+"/shard/", clientv3.WithPrefix(), clientv3.WithRev(since), clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend))
	require.NoError(t, err)
	for _, kv := range resp.Kvs {
		queues[lockName(kv.Key)] = append(queues[lockName(kv.Key)], string(kv.Key))
	}
	for resp := range client.Watch(ctx, "", clientv3.WithPrefix(), clientv3.WithRev(since+1), clientv3.WithProgressNotify()) {
		for _, ev := range resp.Events {
			name, key := lockName(ev.Kv.Key), string(ev.Kv.Key)
			switch i := slices.Index(queues[name], key); {
			case name == "":
			case ev.Type == clientv3.EventTypePut:
				queues[name] = append(queues[name], key)
			case i == 0:
				queues[name] = queues[name][1:]
				if handOvers++; len(queues[name]) == 0 {
					gaps++
				}
			default:
				queues[name] = slices.Delete(queues[name], i, i+1)
			}
		}
		if resp.Header.Revision >= head.Header.Revision {
			return gaps, handOvers
		}
	}
	return gaps, handOvers
}

// lockName returns the lock that a key belongs to.
func lockName(key []byte) string {
	var id int
	var rest string
	if n, _ := fmt.Sscanf(string(key), group+"/shard/%d/~mutex/%s", &id, &rest); n != 2 {
		return ""
	}
	return fmt.Sprint(id)
}

// revision returns the store's revision.
func revision(t *testing.T, client *clientv3.Client) int64 {
	t.Helper()
	resp, err := client.Get(t.Context(), "x")
	require.NoError(t, err)
	return resp.Header.Revision
}

// entries returns the entries of a shard's lock.
func entries(t *testing.T, client *clientv3.Client, id shard.ID) []lock.Entry {
	t.Helper()
	all, err := lock.Inspect(t.Context(), client, lockOf(id))
	require.NoError(t, err)
	return all
}

// done returns a context that is done.
func done(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

// memberKey is the key of one of many members.
func memberKey(n int) string { return fmt.Sprintf("%s/member/m%04d", group, n) }
