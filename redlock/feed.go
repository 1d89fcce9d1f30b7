package redlock

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// pingEvery is how long a subscription may be silent before it is asked for a sign of
// life, and how long that may take: a server that has vanished without a word says
// nothing of releases.
const pingEvery = 3 * time.Second

// feed is the subscription to one node, a connection shared by all waiters.
type feed struct {
	hub    *hub
	node   int
	client redis.UniversalClient
	kicked chan struct{} // buffered: the topics have changed
}

func newFeed(h *hub, node int) *feed {
	f := &feed{hub: h, node: node, client: h.nodes.list[node].client, kicked: make(chan struct{}, 1)}
	if c, ok := f.client.(*redis.Client); ok {
		// Else the end of a subscription to a node that hangs waits for the
		// read timeout of its handshake.
		f.client = c.WithTimeout(h.nodes.cfg.timeout)
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
	for pause := firstPause; ctx.Err() == nil; pause = min(2*pause, maxPause) {
		began := time.Now()
		f.subscribe(ctx)
		if ctx.Err() != nil {
			return // the topics are those of later feeds
		}
		f.hub.disconnected(f.node)
		if time.Since(began) > maxPause {
			pause = firstPause
		}
		timer := time.NewTimer(jitter(pause))
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// subscribe keeps one connection subscribed to the topics, until it breaks or ctx ends.
func (f *feed) subscribe(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	pubsub := f.client.Subscribe(ctx)
	var receiver sync.WaitGroup
	defer receiver.Wait()
	defer func() { _ = pubsub.Close() }() // says only that it was closed before
	have := make(map[string]*topic)
	if f.follow(ctx, pubsub, have) != nil {
		return
	}
	receiver.Go(func() {
		defer cancel()
		f.receive(ctx, pubsub)
	})
	for {
		select {
		case <-f.kicked:
			if f.follow(ctx, pubsub, have) != nil {
				return
			}
		case <-ctx.Done():
			return
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
func (f *feed) receive(ctx context.Context, pubsub *redis.PubSub) {
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
			return
		}
		asked = false
		switch m := message.(type) {
		case *redis.Subscription:
			if m.Kind == "subscribe" {
				f.hub.subscribed(f.node, m.Channel)
			}
		case *redis.Message:
			f.hub.released(m.Channel, m.Payload)
		}
	}
}
