package watch

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"

	"github.com/conclave-go/conclave/internal/attempt"
)

// Reasons for which a watch ends that are not the server's.
var (
	errFull    = errors.New("the buffer is full")
	errSilent  = errors.New("the server is silent")
	errOverdue = errors.New("no watch was created in time")
	errEnded   = errors.New("the watch ended without a reason")
)

const (
	// firstPause and maxPause bound the wait before a watch that the server ended is
	// opened again, so that a cluster without leader is not flooded.
	firstPause = 20 * time.Millisecond
	maxPause   = time.Second
	// maxRefusals is how often in a row a watch may end at once, with an error of
	// unknown nature, while the server answers reads of the same key.
	maxRefusals = 5
)

// follower fills a buffer from one watch after another. It belongs to one goroutine.
type follower struct {
	config
	client *clientv3.Client
	keys   span
	buffer *buffer
	poke   <-chan struct{}

	progress *Progress // nil if nobody listens

	// position is the revision up to which everything is in the buffer, or not
	// wanted; unknown until a watch from now has been created.
	position   int64
	lost       bool // the history after the position is compacted away
	generation int  // of the gRPC stream, see watchContext
	// fragment has large messages divided. Only a client that refuses large ones
	// needs it: the server takes time quadratic in the number of events to divide
	// them, minutes for 100,000 small ones.
	fragment bool
	// patience is how often the time was doubled after which a silent watch is
	// opened again.
	patience int
	refusals int
	pause    time.Duration
}

// unknown is the position of a follower that starts from now.
const unknown = -1

func newFollower(d *delivery, poke <-chan struct{}) *follower {
	return &follower{
		config: d.config, client: d.client, keys: d.keys, buffer: d.buffer, poke: poke, progress: d.progress,
		position: d.revision - 1, pause: firstPause,
	}
}

// run follows until ctx ends or something happens that only the consumer can judge.
func (f *follower) run(ctx context.Context) {
	for ctx.Err() == nil {
		err := f.watch(ctx)
		if ctx.Err() != nil {
			return
		}
		f.buffer.hold(err)
		why := reasonOf(err)
		if err := f.recover(ctx, err); err != nil {
			f.buffer.end(err)
			return
		}
		f.progress.reopened(why)
	}
}

// recover prepares for the next watch after one has ended with err, or returns why
// there cannot be one.
func (f *follower) recover(ctx context.Context, err error) error {
	behind := f.position
	f.position = max(f.position, f.buffer.wanted())
	switch {
	case errors.Is(err, errFull):
		f.log.Info("watch: the consumer is too slow; waiting for it", "key", f.keys.key, "revision", f.position)
		f.buffer.awaitRoom(ctx)
		f.position = max(f.position, f.buffer.wanted())
		return nil
	case errors.Is(err, errSilent):
		f.log.Debug("watch: the server is silent; opening the watch again", "key", f.keys.key, "revision", f.position)
		return nil
	case errors.Is(err, ErrCompacted) && f.snapshot:
		f.log.Warn("watch: history is compacted; reading the state", "key", f.keys.key, "error", err)
		f.lost = f.position == behind // else the state has been read since
		return nil
	case errors.Is(err, ErrCompacted), errors.Is(err, ErrFutureRevision):
		return err
	case errors.Is(err, errOverdue):
		f.generation++
		f.log.Warn("watch: the server does not answer; trying another stream", "key", f.keys.key, "revision", f.position)
		return f.probe(ctx)
	}
	f.log.Debug("watch: opening the watch again", "key", f.keys.key, "revision", f.position, "error", err)
	switch {
	case attempt.Code(err) == codes.ResourceExhausted:
		f.fragment = true
	case !attempt.Transient(err):
		// An expired token belongs to the stream and is mended by another. What
		// else it is shows when the same user reads the same key.
		f.generation++
		if f.refusals++; f.refusals > maxRefusals {
			return err
		}
	}
	attempt.Pause(ctx, f.pause)
	f.pause = min(2*f.pause, maxPause)
	return f.probe(ctx)
}

// reasonOf returns the kind of reason for which a watch has ended.
func reasonOf(err error) Reason {
	switch {
	case errors.Is(err, errFull):
		return ReasonSlow
	case errors.Is(err, errSilent):
		return ReasonSilent
	case errors.Is(err, errOverdue):
		return ReasonStalled
	case errors.Is(err, ErrCompacted):
		return ReasonCompacted
	}
	return ReasonEnded
}

// probe reads the key until a member answers, or until it is clear that none ever
// will: with the permissions gone, or the client closed. Without it each attempt at a
// watch during an outage would leave one behind in clientv3, which gives up
// opening a gRPC stream only when the client is closed.
func (f *follower) probe(ctx context.Context) error {
	_, err := f.current(ctx)
	if err == nil && rand.IntN(2) == 0 {
		// Members take turns in answering a client's calls. Of two, the one that has
		// just answered would leave each watch to the other, even if that has
		// vanished; so the turn is passed on now and then.
		_ = attempt.Once(ctx, f.stall/10, func(ctx context.Context) error {
			_, err := f.read(ctx)
			return err
		})
	}
	return err
}

// current returns the store's revision, for which it asks until a member answers.
func (f *follower) current(ctx context.Context) (revision int64, err error) {
	err = attempt.Do(ctx, f.stall, func(ctx context.Context) (err error) {
		revision, err = f.read(ctx)
		return err
	})
	return revision, err
}

// read asks once for the store's revision, by reading the key: who may watch it may
// read it.
func (f *follower) read(ctx context.Context) (revision int64, err error) {
	resp, err := f.client.Get(ctx, f.keys.key, clientv3.WithKeysOnly())
	if err != nil {
		return 0, err
	}
	return resp.Header.Revision, nil
}
