package queue

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/attempt"
)

// AwaitOther returns nil once another entry is in the queue behind the grant's, and
// ctx's error when that ends first. It costs one watch, and one read then and in each
// third of a TTL.
func (g *Grant) AwaitOther(ctx context.Context) error {
	e := g.entry
	prefix := e.legs[0].lane.prefix
	return e.await(ctx, sign{
		read:  readLater(prefix, e.created),
		watch: []clientv3.OpOption{clientv3.WithPrefix()},
		key:   prefix,
		is:    func(kv *mvccpb.KeyValue) bool { return kv.CreateRevision > e.created },
	})
}

// readLater returns a function that reads the last entry that was created after a revision.
// Attempts that are under way side by side call it.
func readLater(prefix string, created int64) func(how ...clientv3.OpOption) clientv3.Op {
	later := slices.Clip(append(clientv3.WithLastCreate(), clientv3.WithPrefix(), clientv3.WithMinCreateRev(created+1)))
	return func(how ...clientv3.OpOption) clientv3.Op { return clientv3.OpGet(prefix, append(later, how...)...) }
}

// Requested returns a channel that is closed once somebody has asked the grant to be
// released, with [Request]. The first call costs one watch for each key, and one read
// then and in each third of a TTL, until the grant ends. In a layout of other libraries nobody
// is asked, and nothing is watched.
func (g *Grant) Requested() <-chan struct{} {
	g.asking.Do(func() {
		g.asked = make(chan struct{})
		if g.entry.q.Nests {
			return
		}
		ask := sync.OnceFunc(func() { close(g.asked) })
		for i := range g.entry.legs {
			key := g.entry.legs[i].key
			g.entry.keys.Go(func(ctx context.Context) {
				ctx, cancel := g.With(ctx)
				defer cancel()
				if g.entry.awaitRequest(ctx, key) == nil {
					ask()
				}
			})
		}
	})
	return g.asked
}

func (e *entry) awaitRequest(ctx context.Context, key string) error {
	at := requestKey(key)
	return e.await(ctx, sign{
		read: func(how ...clientv3.OpOption) clientv3.Op { return clientv3.OpGet(at, how[:len(how)-1]...) }, // with its value
		key:  at,
		is:   func(kv *mvccpb.KeyValue) bool { return string(kv.Value) == strconv.FormatInt(e.created, 10) },
	})
}

// requestKey returns the key of a request to release the entry of the given key: in the
// same order below a kind of its own, so that a name's entries and requests are apart.
func requestKey(key string) string {
	i := strings.LastIndex(key, "/"+ownSegment) + len("/"+ownSegment)
	return key[:i] + "request/" + key[i:]
}

// requestLife is how long a request stays in the store, whatever becomes of the entry.
const requestLife = time.Hour

// GrantRequests grants a lease for the requests of one asker, which nobody renews. Under the
// lease of the entry a request would be the end of all that is under that if its owner's user
// may not write it: etcd renews a lease only for those who may write each of its keys.
func GrantRequests(ctx context.Context, client *clientv3.Client) (clientv3.LeaseID, error) {
	resp, err := attempt.Hedge(ctx, attempt.Limits{Patience: patience, Caller: &attempt.Caller{Client: client}}, func(ctx context.Context) (*clientv3.LeaseGrantResponse, error) {
		return client.Grant(ctx, seconds(requestLife))
	})
	if err != nil {
		return clientv3.NoLease, err
	}
	return resp.ID, nil
}

// Request asks the owner of an entry to release it: a key under a lease of the asker's names
// its create revision, so that it means nothing to later ones. It reports whether the entry
// was there.
func Request(ctx context.Context, client *clientv3.Client, o Occupant, under clientv3.LeaseID) (bool, error) {
	resp, err := attempt.Hedge(ctx, attempt.Limits{Patience: patience, Caller: &attempt.Caller{Client: client}}, func(ctx context.Context) (*clientv3.TxnResponse, error) {
		return client.Txn(ctx).
			If(clientv3.Compare(clientv3.CreateRevision(o.Key), "=", o.CreateRevision)).
			Then(clientv3.OpPut(requestKey(o.Key), strconv.FormatInt(o.CreateRevision, 10), clientv3.WithLease(under))).
			Commit()
	})
	if err != nil {
		return false, err
	}
	return resp.Succeeded, nil
}

// sign is something that appears in the store.
type sign struct {
	// read finds it if it is there.
	read func(how ...clientv3.OpOption) clientv3.Op
	// key and watch tell when it is put.
	key   string
	watch []clientv3.OpOption
	is    func(kv *mvccpb.KeyValue) bool
}

// await returns nil once the sign is there, and an error when ctx or the lease ends
// first.
func (e *entry) await(ctx context.Context, s sign) error {
	ctx, done := e.bind(ctx)
	defer done()
	var err error
	for pause := firstWatchPause; ctx.Err() == nil; pause = min(2*pause, maxWatchPause) {
		if err = e.see(ctx, s); err == nil {
			return nil
		}
		if denied(err) && ctx.Err() == nil {
			e.log().Warn("queue: what others ask for cannot be read", "at", s.key, "error", err)
			e.awaitPermission(ctx, s)
		}
		attempt.Pause(ctx, pause)
	}
	return attempt.Ended(ctx, err)
}

// awaitPermission returns once the sign may be read. It asks once in a TTL, without a watch:
// each one that is refused may cost a gRPC stream.
func (e *entry) awaitPermission(ctx context.Context, s sign) {
	for attempt.Pause(ctx, e.lease.TTL()) {
		if _, err := e.thereNow(ctx, s); !denied(err) {
			return
		}
	}
}

// denied reports whether the server has refused a read or a watch because the user may not
// read the key. Of a watch's refusal clientv3 passes on only the text.
func denied(err error) bool {
	return err != nil && strings.Contains(err.Error(), rpctypes.ErrPermissionDenied.Error())
}

// readsPerTTL is how often a sign is read although a watch would tell: a member that has
// vanished without a word keeps events to itself.
const readsPerTTL = 3

// see returns nil once the sign is there, or why the watch has ended.
func (e *entry) see(ctx context.Context, s sign) error {
	if !e.crowd.opening.pass(ctx) {
		return attempt.Ended(ctx, nil)
	}
	leave := sync.OnceFunc(e.crowd.opening.leave)
	defer leave()
	stream, pending := e.keys.Stream(), true
	client := e.q.Session.Client()
	defer func() { stream.Leave(client, e.legs[0].lane.prefix, pending) }()
	watchCtx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	stop := context.AfterFunc(ctx, cancel)
	defer stop()
	overdue := time.AfterFunc(rpcTimeout(e.lease), func() { stream.Abandon(); cancel() })
	defer overdue.Stop()
	again := time.NewTicker(e.lease.TTL() / readsPerTTL)
	defer again.Stop()
	opts := append(s.watch, clientv3.WithFilterDelete(), clientv3.WithCreatedNotify())
	responses := client.Watch(watchCtx, s.key, opts...)
	for {
		var found, silent bool
		var err error
		select {
		case resp, ok := <-responses:
			if !ok {
				return errors.Join(errWatchEnded, ctx.Err())
			}
			overdue.Stop()
			stream.Heard()
			if resp.Created {
				pending = false
				stream.Created(client, e.legs[0].lane.prefix)
			}
			found, err = e.heard(ctx, s, resp)
			leave()
		case <-again.C:
			found, err = e.thereNow(ctx, s)
			silent = found
		}
		if (silent || err != nil && !denied(err)) && ctx.Err() == nil {
			stream.Abandon()
		}
		if found || err != nil {
			return err
		}
	}
}

// heard reports whether a watch's response tells of the sign.
func (e *entry) heard(ctx context.Context, s sign, resp clientv3.WatchResponse) (found bool, err error) {
	if err := resp.Err(); err != nil {
		return false, err
	}
	for _, ev := range resp.Events {
		if s.is(ev.Kv) {
			return true, nil
		}
	}
	if !resp.Created {
		return false, nil
	}
	return e.there(ctx, s, resp.Header.Revision)
}

// thereNow reports whether a quorum knows of the sign.
func (e *entry) thereNow(ctx context.Context, s sign) (bool, error) {
	resp, err := e.commit(ctx, nil, []clientv3.Op{s.read(clientv3.WithKeysOnly())}, nil)
	if err != nil {
		return false, err
	}
	kv := first(resp, 0)
	return kv != nil && s.is(kv), nil
}

// there reports whether the sign was there at a revision not older than rev.
func (e *entry) there(ctx context.Context, s sign, rev int64) (bool, error) {
	resp, err := e.read(ctx, rev, func(how ...clientv3.OpOption) []clientv3.Op {
		return []clientv3.Op{s.read(how...)}
	})
	if err != nil {
		return false, err
	}
	kv := first(resp, 0)
	return kv != nil && s.is(kv), nil
}
