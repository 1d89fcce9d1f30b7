package worker

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/watch"
)

// KindRing is a hash ring without locks, a control: a shard is with whom the members say
// that a worker knows of. A turn for each shard lets it go round.
const KindRing = "ring"

// ring is a member's view of who there is, and of turns.
type ring struct {
	client  *clientv3.Client
	session *lease.Session
	cache   *watch.Cache[string]
	name    string
	self    string

	mu      sync.Mutex
	given   map[int]int   // by shard, the turn after the last that was given up here
	changed chan struct{} // closed and replaced by each change of the view
	over    chan struct{} // closed when the view is followed no more
	end     context.CancelFunc
}

func joinRing(ctx context.Context, client *clientv3.Client, _ lease.Observer, j Job, _ *Gate) (group, error) {
	s, err := lease.NewSession(ctx, client, lease.WithTTL(j.TTL))
	if err != nil {
		return nil, err
	}
	if _, err := lease.Register(ctx, s, j.Lock+"/member/"+j.Worker, ""); err != nil { // the session's end removes it
		return nil, errors.Join(err, s.Close(ctx))
	}
	r := &ring{client: client, session: s, name: j.Lock, self: j.Worker, given: make(map[int]int), changed: make(chan struct{}), over: make(chan struct{})}
	r.cache, err = watch.NewCache(ctx, client, j.Lock+"/", func(_ string, value []byte) (string, error) { return string(value), nil })
	if err != nil {
		return nil, errors.Join(err, s.Close(ctx))
	}
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	r.end = end
	go func() { // ends with life; Close waits for it
		defer close(r.over)
		for _, err := range r.cache.Snapshots(life) {
			if err != nil {
				return
			}
			r.mu.Lock()
			close(r.changed)
			r.changed = make(chan struct{})
			r.mu.Unlock()
		}
	}()
	return r, nil
}

func (r *ring) shard(id int) Locker { return ringLocker{r, id} }

// Close leaves the ring.
func (r *ring) Close(ctx context.Context) error {
	r.end()
	<-r.over
	return errors.Join(r.cache.Close(ctx), r.session.Close(ctx))
}

// view returns a channel that is closed when the view changes.
func (r *ring) view() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}

// next returns the first turn of a shard that was not given up here.
func (r *ring) next(id int) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.given[id]
}

func (r *ring) give(id, turn int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.given[id] = turn
}

// turn is the key that says how often a shard has gone round.
func (r *ring) turn(id int) string { return fmt.Sprintf("%s/turn/%d", r.name, id) }

// owner returns whose a shard is, and in which turn.
func (r *ring) owner(id int) (member string, turn int) {
	s := r.cache.Snapshot()
	var all []string
	prefix := r.name + "/member/"
	for key := range s.Prefix(prefix) {
		all = append(all, strings.TrimPrefix(key, prefix))
	}
	item, _ := s.Get(r.turn(id))
	turn, _ = strconv.Atoi(item.Value) // 0 at first
	if len(all) == 0 {
		return "", turn
	}
	slices.Sort(all)
	h := fnv.New32a()
	_, _ = h.Write([]byte(r.turn(id))) // it never fails
	return all[(int(h.Sum32()%uint32(len(all)))+turn)%len(all)], turn
}

// ringLocker is a shard as a lock.
type ringLocker struct {
	r  *ring
	id int
}

// Lock waits until the shard is this worker's, by its view.
func (l ringLocker) Lock(ctx context.Context) (Hold, error) {
	for {
		changed := l.r.view()
		if member, turn := l.r.owner(l.id); member == l.r.self && turn >= l.r.next(l.id) {
			h := &ringHold{r: l.r, id: l.id, turn: turn, done: make(chan struct{}), stop: make(chan struct{})}
			go h.follow()
			return h, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// Close does nothing: the ring is closed.
func (l ringLocker) Close(context.Context) error { return nil }

// ringHold is a shard that is this worker's, by its view.
type ringHold struct {
	r        *ring
	id, turn int
	done     chan struct{} // closed when it is another's
	stop     chan struct{} // closed by Unlock
}

// follow ends when the shard is another's, or given up.
func (h *ringHold) follow() {
	for {
		changed := h.r.view()
		if h.Err() != nil {
			close(h.done)
			return
		}
		select {
		case <-changed:
		case <-h.stop:
			return
		}
	}
}

// Remaining returns that there is no deadline.
func (h *ringHold) Remaining() (time.Duration, bool) { return 0, false }

func (h *ringHold) Token() int64          { return 0 }
func (h *ringHold) Key() string           { return "" }
func (h *ringHold) Done() <-chan struct{} { return h.done }
func (h *ringHold) Phantom() bool         { return false }

// Err returns nil while the view says that the shard is this worker's, in this turn.
func (h *ringHold) Err() error {
	if member, turn := h.r.owner(h.id); member != h.r.self || turn != h.turn {
		return errOver
	}
	return nil
}

// Unlock makes it the next one's turn, unless another owner has.
func (h *ringHold) Unlock(ctx context.Context) error {
	close(h.stop)
	if err := h.Err(); err != nil {
		return err
	}
	h.r.give(h.id, h.turn+1)
	key := h.r.turn(h.id)
	unchanged := clientv3.Compare(clientv3.Value(key), "=", strconv.Itoa(h.turn))
	if h.turn == 0 {
		unchanged = clientv3.Compare(clientv3.CreateRevision(key), "=", 0)
	}
	_, err := h.r.client.Txn(ctx).If(unchanged).Then(clientv3.OpPut(key, strconv.Itoa(h.turn+1))).Commit()
	if err != nil { // then the view says whose turn it is
		h.r.give(h.id, h.turn)
	}
	return err
}
