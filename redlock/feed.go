package redlock

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// pingEvery is how long a subscription may be silent before it is asked for a sign of
	// life, and how long that may take, as may its beginning: a server that has vanished
	// without a word says nothing of releases.
	pingEvery = 3 * time.Second
	// maxSubscribePause is the longest wait between attempts to subscribe that are refused.
	maxSubscribePause = 10 * time.Second
)

// feed is the subscription to one node, a connection shared by all waiters.
type feed struct {
	hub    *hub
	node   int
	client redis.UniversalClient
	kicked chan struct{} // buffered: the topics have changed
	warned bool          // of a failure, since it worked last
	works  atomic.Bool   // the node has answered since the connection was made
}

func newFeed(h *hub, node int) *feed {
	f := &feed{hub: h, node: node, client: h.nodes.list[node].client, kicked: make(chan struct{}, 1)}
	if c, ok := f.client.(*redis.Client); ok {
		// Else the end of a subscription to a node that hangs waits for the
		// read timeout of its handshake.
		f.client = c.WithTimeout(pingEvery)
	}
	return f
}

func (f *feed) kick() {
	select {
	case f.kicked <- struct{}{}:
	default:
	}
}

// run keeps the node's subscription until ctx ends.
func (f *feed) run(ctx context.Context) {
	for pause := firstPause; ctx.Err() == nil; pause = min(2*pause, maxSubscribePause) {
		err := f.subscribe(ctx)
		if ctx.Err() != nil {
			return // the topics are those of later feeds
		}
		f.hub.disconnected(f.node)
		f.failed(err)
		if f.works.Swap(false) {
			pause = firstPause
		}
		if passing(err) {
			pause = min(pause, maxPause)
		}
		timer := time.NewTimer(jitter(pause))
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// failed tells observers, and the log once until the subscription works again, that
// nothing is told of releases.
func (f *feed) failed(err error) {
	n := f.hub.nodes
	name := n.list[f.node].name
	n.cfg.failure(name, opSubscribe, answer{state: NodeFailed, err: err})
	if f.works.Load() {
		f.warned = false
	}
	if !f.warned {
		f.warned = true
		n.cfg.log.Warn("redlock: a node does not tell of releases; without a quorum that does, waiters ask about once a second", "node", name, "error", err)
	}
}

// subscribe keeps one connection subscribed to the topics, until it breaks or ctx ends.
func (f *feed) subscribe(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	pubsub := f.client.Subscribe(ctx)
	var receiver sync.WaitGroup
	defer receiver.Wait()
	defer func() { _ = pubsub.Close() }() // says only that it was closed before
	have := make(map[string]*topic)
	if err := f.follow(ctx, pubsub, have); err != nil {
		return err
	}
	receiver.Go(func() { cancel(f.receive(ctx, pubsub)) })
	for {
		select {
		case <-f.kicked:
			if err := f.follow(ctx, pubsub, have); err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// follow subscribes to what is wanted and not had, and the other way round.
func (f *feed) follow(ctx context.Context, pubsub *redis.PubSub, have map[string]*topic) error {
	want := f.hub.channels()
	var more, less []string
	for c, t := range want {
		if have[c] != t { // a topic that came back wants to hear that it is told
			have[c] = t
			more = append(more, c)
		}
	}
	for c := range have {
		if _, ok := want[c]; !ok {
			delete(have, c)
			less = append(less, c)
		}
	}
	var err error
	if len(more) > 0 {
		err = pubsub.Subscribe(ctx, more...)
	}
	if len(less) > 0 && err == nil {
		err = pubsub.Unsubscribe(ctx, less...)
	}
	return err
}

// receive hands on what the node says, until the connection breaks or is closed.
func (f *feed) receive(ctx context.Context, pubsub *redis.PubSub) error {
	asked := false
	for ctx.Err() == nil {
		message, err := pubsub.ReceiveTimeout(ctx, pingEvery)
		if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() && !asked {
			asked = true
			err = pubsub.Ping(ctx)
			if err == nil {
				continue
			}
		}
		if err != nil {
			return err
		}
		asked = false
		f.works.Store(true)
		switch m := message.(type) {
		case *redis.Subscription:
			if m.Kind == "subscribe" {
				f.hub.subscribed(f.node, m.Channel)
			}
		case *redis.Message:
			f.hub.released(m.Channel, m.Payload)
		}
	}
	return ctx.Err()
}
