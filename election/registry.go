package election

import (
	"context"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// followers are those of this process.
//
//nolint:gochecknoglobals // observers that know nothing of each other share one watch
var followers registry

// registry finds the follower of an election. It refers to a client only while that
// is used to observe.
type registry struct {
	mu sync.Mutex
	of map[observed]*follower
}

type observed struct {
	client *clientv3.Client
	place  place
}

// join returns the follower of an election, made if there is none, and a function that
// leaves it. The last to leave ends it and waits until its watch has ended.
func (r *registry) join(client *clientv3.Client, p place) (f *follower, leave func()) {
	key := observed{client, p}
	r.mu.Lock()
	defer r.mu.Unlock()
	f = r.of[key]
	if f == nil {
		f = r.start(key)
	}
	f.users++
	return f, func() { r.leave(key, f) }
}

// start makes a follower. mu must be held.
func (r *registry) start(key observed) *follower {
	//nolint:forbidigo // it lives until its last observer has left, whichever that is
	ctx, cancel := context.WithCancel(context.Background())
	f := &follower{place: key.place, cancel: cancel, done: make(chan struct{}), changed: make(chan struct{})}
	if r.of == nil {
		r.of = make(map[observed]*follower)
	}
	r.of[key] = f
	go func() { // ends with ctx
		defer close(f.done)
		err := f.follow(ctx, key.client, key.place)
		r.remove(key, f) // before anybody hears of it, so that who then joins gets another
		f.fail(err)
	}()
	return f
}

func (r *registry) leave(key observed, f *follower) {
	r.mu.Lock()
	f.users--
	last := f.users == 0
	if last && r.of[key] == f {
		delete(r.of, key)
	}
	r.mu.Unlock()
	if last {
		f.cancel()
		<-f.done
	}
}

func (r *registry) remove(key observed, f *follower) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.of[key] == f {
		delete(r.of, key)
	}
}
