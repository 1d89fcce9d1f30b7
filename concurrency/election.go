package concurrency

import (
	"context"
	"errors"
	"strings"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/election"
	"github.com/conclave-go/conclave/lease"
)

var (
	// ErrElectionNotLeader is returned by Proclaim when the session does not lead, or no
	// longer leads.
	ErrElectionNotLeader = errors.New("concurrency: election: not leader")
	// ErrElectionNoLeader is returned by Leader when nobody leads.
	ErrElectionNoLeader = errors.New("concurrency: election: no leader")
)

// Election elects one session at a time as leader. Use [NewElection] or [ResumeElection].
type Election struct {
	session *Session
	prefix  string
	inner   *election.Election
	broken  error // why there is no inner

	mu     sync.Mutex
	term   *election.Term
	resume bool // it leads with key and rev, which somebody else has put
	key    string
	rev    int64
	header *pb.ResponseHeader
}

// NewElection returns an election whose keys begin with pfx and a slash, whatever bytes pfx
// has. It has no error to return: a session that is nil or zero is refused by the methods.
func NewElection(s *Session, pfx string) *Election { return newElection(s, pfx+"/") }

func newElection(s *Session, prefix string) *Election {
	e := &Election{session: s, prefix: prefix}
	if e.broken = s.check(); e.broken == nil {
		e.inner, e.broken = election.New(s.inner, strings.TrimSuffix(prefix, "/"), election.WithEtcdLayout())
	}
	return e
}

// ResumeElection returns an election that the session already leads, with a key of its
// lease: to continue it in the process that was elected, or in one that has adopted the
// lease, see [WithLease]. It makes no request and has no error to return: each
// [Election.Proclaim] and Resign finds out whether the session still leads.
//
// The keys of the election begin with what leaderKey has up to its last slash, so it does
// not matter whether pfx has the slash that NewElection adds.
func ResumeElection(s *Session, pfx, leaderKey string, leaderRev int64) *Election {
	prefix := strings.TrimSuffix(pfx, "/") + "/"
	if i := strings.LastIndex(leaderKey, "/"); i >= 0 && strings.HasPrefix(leaderKey, pfx) {
		prefix = leaderKey[:i+1]
	}
	e := newElection(s, prefix)
	e.resume, e.key, e.rev = true, leaderKey, leaderRev
	return e
}

// Campaign waits until the session leads, with val for others to see. When ctx ends it returns
// ctx's error, and when the session does [ErrSessionExpired]: nobody is a candidate then, and
// what was written is removed.
//
// If the session leads already, which the server is asked, Campaign returns at once, unless
// [WithStrict]. It writes val only if the session leads with another value. If it fails before
// it writes, for example because ctx ends, the session still leads, with the value that it had;
// if it fails later, or while it takes up what an earlier user of the lease has left, nobody leads.
//
// It returns no context that ends with the term: watch [Session.Done], which does not
// report when an operator deletes the key.
func (e *Election) Campaign(ctx context.Context, val string) error {
	if err := e.check(ctx); err != nil {
		return err
	}
	t, err := acquire(ctx, e.session, func(ctx context.Context) (*election.Term, error) { return e.obtain(ctx, val) })
	e.mu.Lock()
	defer e.mu.Unlock()
	if err != nil {
		if e.term != nil && e.term.Err() != nil && !e.resume { // it had a value that could not be replaced
			e.key = ""
		}
		return err
	}
	e.took(t)
	return nil
}

func (e *Election) check(ctx context.Context) error {
	if ctx == nil {
		return errNilContext
	}
	return e.broken
}

// took notes the term that the election has now. mu must be held.
func (e *Election) took(t *election.Term) {
	e.session.unresumed(e.key, e)
	e.term, e.resume, e.key, e.rev, e.header = t, false, t.Key(), t.Token().Revision(), header(t.Header())
	e.session.leads(t)
}

// claimKey names the election among those of its session.
func (e *Election) claimKey() claimKey { return claimKey{e.prefix, true} }

// obtain returns a term with the value given, which may be one that the session has
// already.
func (e *Election) obtain(ctx context.Context, val string) (*election.Term, error) {
	anew := func(ctx context.Context) (*election.Term, error) { return e.inner.Campaign(ctx, val) }
	if e.session.opts.strict {
		return strictly(ctx, e.session, e.claimKey(), e, ways[*election.Term]{e.resumeAs(val), anyPlace, anew})
	}
	c, leave := e.session.claim(e.claimKey())
	defer leave()
	release, err := c.take(ctx, nil)
	if err != nil {
		return nil, err
	}
	defer release()
	if leads, err := c.leads(ctx, val); leads || err != nil {
		return c.term, err
	}
	left, err := e.session.left(ctx, e.prefix)
	if err != nil {
		return nil, err
	}
	t, ok, err := takeUp(ctx, e.session, left, e.resumeAs(val))
	if err == nil && !ok {
		t, err = anew(ctx)
	}
	c.term = t
	return t, err
}

// resumeAs returns a function that resumes a candidacy and leads with another value then. If
// it fails, nobody leads.
func (e *Election) resumeAs(val string) func(ctx context.Context, key string, rev int64) (*election.Term, error) {
	return func(ctx context.Context, key string, rev int64) (*election.Term, error) {
		t, err := e.inner.Resume(ctx, key, rev)
		if err == nil {
			err = e.session.proclaimOrResign(ctx, t, val)
		}
		if err != nil {
			return nil, err
		}
		return t, nil
	}
}

// leading returns the term that the election has; or, if it was resumed and the process has
// no such term, the key that it leads with and its create revision; or neither.
func (e *Election) leading() (t *election.Term, key string, rev int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.resume {
		return e.term, "", 0
	}
	if t = e.session.term(e.key, e.rev); t != nil {
		e.term, e.resume = t, false
		return t, "", 0
	}
	return nil, e.key, e.rev
}

// has reports whether the election has what leading has returned, and not another term since.
// mu must be held.
func (e *Election) has(t *election.Term, key string, rev int64) bool {
	if t != nil {
		return e.term == t
	}
	return e.resume && e.key == key && e.rev == rev
}

// Proclaim replaces the value that the session leads with, and returns
// [ErrElectionNotLeader] if it does not lead. It removes nothing, whatever becomes of it.
//
// In a resumed election that was not campaigned in, a Proclaim that has failed without an
// answer may still take effect, and replace the value of one that was called after it.
func (e *Election) Proclaim(ctx context.Context, val string) error {
	if err := e.check(ctx); err != nil {
		return err
	}
	var h *pb.ResponseHeader
	t, key, rev := e.leading()
	err := election.ErrLost
	switch {
	case t != nil:
		if err = e.session.proclaim(ctx, t, val); err == nil {
			h = header(t.Header())
		}
	case key != "":
		h, err = e.session.replace(ctx, key, rev, val)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	has := e.has(t, key, rev)
	switch {
	case errors.Is(err, election.ErrLost), errors.Is(err, election.ErrResigned):
		if has {
			e.session.unresumed(e.key, e)
			e.key, e.resume = "", false
		}
		return ErrElectionNotLeader
	case err != nil:
		return plain(ctx, err)
	case !has:
		return nil
	case key != "":
		e.session.resumes(key, e)
	}
	e.header = h
	return nil
}

// Resign gives up the leadership, if this election still has it; if not, also when it was
// lost, it returns nil.
//
// ctx bounds the wait: when it ends, its error is returned, the term is over for this
// process, and its key is removed in the background. Resign may then be called again, to wait
// again. A resumed election that was not campaigned in is given up in one request: if that
// fails, Resign may be called again. So is one after [Session.Orphan], or when the context of
// [WithContext] has ended.
func (e *Election) Resign(ctx context.Context) error {
	if err := e.check(ctx); err != nil {
		return err
	}
	t, key, rev := e.leading()
	err := e.giveUp(ctx, t, key, rev)
	e.mu.Lock()
	switch {
	case !e.has(t, key, rev):
	case err == nil, errors.Is(err, lease.ErrClosed), errors.Is(err, lease.ErrLost):
		e.session.unresumed(e.key, e)
		e.term, e.resume, e.key = nil, false, ""
	case t != nil: // it is over, but its key may be there
		e.session.unresumed(e.key, e)
		e.key = ""
	}
	e.mu.Unlock()
	e.session.given(e.claimKey())
	return plain(ctx, err)
}

// giveUp gives up what leading has returned.
func (e *Election) giveUp(ctx context.Context, t *election.Term, key string, rev int64) (err error) {
	end := e.session.call()
	defer end()
	switch {
	case t != nil:
		if err = t.Resign(ctx); err != nil && e.session.abandoned() {
			err = e.session.removeLeft(ctx, t.Key(), t.Token().Revision(), err)
		}
	case key != "":
		err = e.session.remove(ctx, key, rev)
	}
	if errors.Is(err, election.ErrLost) {
		return nil
	}
	return err
}

// Leader returns the key of the present leader as Get would, but for the count, which is
// always 1; [ErrElectionNoLeader] if there is none.
func (e *Election) Leader(ctx context.Context) (*clientv3.GetResponse, error) {
	if err := e.check(ctx); err != nil {
		return nil, err
	}
	var seen lease.Header
	l, err := election.Current(ctx, e.session.client, e.name(), election.WithEtcdLayout(), election.WithHeader(&seen))
	switch {
	case err != nil:
		return nil, plain(ctx, err)
	case !l.Exists():
		return nil, ErrElectionNoLeader
	}
	return response(l, header(seen)), nil
}

// name returns the name of the election in package election.
func (e *Election) name() string { return strings.TrimSuffix(e.prefix, "/") }

// response returns a leader as an answer to a Get.
func response(l election.Leader, h *pb.ResponseHeader) *clientv3.GetResponse {
	return &clientv3.GetResponse{Header: h, Count: 1, Kvs: []*mvccpb.KeyValue{{
		Key: []byte(l.Key), Value: []byte(l.Value), CreateRevision: l.CreateRevision, ModRevision: l.ModRevision,
		Version: l.Version, Lease: int64(l.Lease),
	}}}
}

// Observe returns a channel of the present leader, if there is one, and of every change of
// it: another leader, or a proclamation. It goes on through lost connections, elections of
// the cluster and compaction. Headers have only a revision, which never goes back.
//
// The channel is closed when ctx ends, when the client is closed, when the server refuses, and
// when the store is another one, as after a restore from a backup; the channel has no room to
// say which of these it was. While ctx goes on, Observe may be called again. Until then, a channel that
// nobody reads keeps a goroutine, so ctx has to end.
func (e *Election) Observe(ctx context.Context) <-chan *clientv3.GetResponse {
	seen := make(chan *clientv3.GetResponse)
	if e.check(ctx) != nil {
		close(seen)
		return seen
	}
	go func() { // ends with ctx, or with the client
		defer close(seen)
		e.observe(ctx, seen)
	}()
	return seen
}

func (e *Election) observe(ctx context.Context, seen chan<- *clientv3.GetResponse) {
	var revision int64
	for l, err := range election.Observe(ctx, e.session.client, e.name(), election.WithEtcdLayout()) {
		switch {
		case err != nil:
			return
		case !l.Exists():
			continue
		}
		revision = max(revision, l.ModRevision)
		select {
		case seen <- response(l, &pb.ResponseHeader{Revision: revision}):
		case <-ctx.Done():
			return
		}
	}
}

// Key returns the key that the session leads with, empty if it does not.
func (e *Election) Key() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.key
}

// Rev returns the create revision of the key that the session leads with, or has led with
// last: the fencing token of the term.
func (e *Election) Rev() int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.rev
}

// Header returns the header of the answer to the last Campaign or Proclaim that has put the
// value, nil before there was one.
func (e *Election) Header() *pb.ResponseHeader {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.header
}
