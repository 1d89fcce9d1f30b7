package watch

import (
	"context"
	"fmt"
	"strconv"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/metadata"
)

// generationKey is the metadata that tells clientv3 to use another gRPC stream: it
// shares one among all watches whose metadata is the same.
const generationKey = "conclave-watch-generation"

// leg is one watch of clientv3's.
type leg struct {
	client    *clientv3.Client
	ctx       context.Context // of the watch; only close ends it
	cancel    context.CancelFunc
	responses clientv3.WatchChan
	created   int64 // the store's revision when it was created; later events are delivered
	history   bool  // so are earlier ones
	// early is set for the first moments of a watch with history. Answers to requests
	// for progress go to all watches on the gRPC stream, and may overtake the creation
	// of one they do not speak of: such an answer has a revision up to created.
	early bool
}

// openLeg opens a watch from a revision, or from now if it is 0.
func openLeg(ctx context.Context, f *follower, revision int64) (*leg, error) {
	w := &leg{client: f.client, history: revision > 0, early: revision > 0}
	w.ctx, w.cancel = context.WithCancel(watchContext(context.WithoutCancel(ctx), f.generation))
	opts := f.keys.options(clientv3.WithCreatedNotify(), clientv3.WithProgressNotify(), clientv3.WithRev(revision))
	if f.fragment {
		opts = append(opts, clientv3.WithFragment())
	}
	overdue := time.AfterFunc(f.stall/2, w.cancel)
	stop := context.AfterFunc(ctx, w.cancel)
	resp, ok := w.create(f.keys.key, opts)
	stop()
	inTime := overdue.Stop()
	var err error
	switch {
	case ctx.Err() != nil:
		err = ctx.Err()
	case !inTime:
		err = errOverdue
	case !ok || resp.Err() == nil && !resp.Created:
		err = errEnded
	case resp.Err() != nil:
		err = fmt.Errorf("the server refused the watch: %w", resp.Err())
	default:
		w.created = resp.Header.Revision
		return w, nil
	}
	w.close()
	return nil, err
}

// create opens the watch and returns the first response to it. Watch itself blocks
// until the server has created the watch.
func (w *leg) create(key string, opts []clientv3.OpOption) (resp clientv3.WatchResponse, ok bool) {
	w.responses = w.client.Watch(w.ctx, key, opts...)
	select {
	case resp, ok = <-w.responses:
	case <-w.ctx.Done():
	}
	return resp, ok
}

// watchContext returns the context of a watch on the gRPC stream of a generation. The
// first is shared with everybody who asks for no more than a leader.
func watchContext(ctx context.Context, generation int) context.Context {
	ctx = clientv3.WithRequireLeader(ctx)
	if generation > 0 {
		ctx = metadata.AppendToOutgoingContext(ctx, generationKey, strconv.Itoa(generation))
	}
	return ctx
}

// ask asks the server for its revision. The answer goes to all watches on the gRPC
// stream, and there is none while one of them has not caught up with the store.
// The watch must be open: without one, asking would open a gRPC stream for good.
func (w *leg) ask(ctx context.Context, timeout time.Duration) {
	ask, cancel := context.WithTimeout(w.ctx, timeout)
	defer cancel()
	stop := context.AfterFunc(ctx, cancel)
	defer stop()
	// A failure shows as silence, or as the end of the watch.
	_ = w.client.RequestProgress(ask)
}

func (w *leg) close() { w.cancel() }
