package watch

import (
	"context"
	"errors"
	"log/slog"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/attempt"
)

// Reasons for which a watch ends that are not the server's.
var (
	errFull   = errors.New("the buffer is full")
	errSilent = errors.New("the server is silent")
	errLate   = errors.New("history begins after the position")
	errAside  = errors.New("the gRPC stream is to be left")
	errOthers = errors.New("the gRPC stream is shared")
	errPast   = errors.New("the watch has come past what was in the way")
)

const (
	// firstPause and maxPause bound the wait before a watch that the server ended is
	// opened again, so that a cluster without leader is not flooded.
	firstPause = 20 * time.Millisecond
	maxPause   = time.Second
	// maxRefusals is how often in a row a watch may end at once, with an error of
	// unknown nature, while the server answers reads of the same key.
	maxRefusals = 5
	// maxQuiet bounds how long a watch with history may be silent, in stall limits.
	maxQuiet = 512
	// maxPatience bounds how long a watch may take to be created, in stall limits.
	maxPatience = 32
	// firstRepeat is when a warning is repeated for the first time.
	firstRepeat = 10 * time.Second
)

// follower fills a buffer from one watch after another. It belongs to one goroutine.
type follower struct {
	config
	client *clientv3.Client
	keys   span
	buffer *buffer
	poke   <-chan int64

	progress *Progress // nil if nobody listens
	streams  *streams

	// position is the revision up to which everything is in the buffer, or not
	// wanted; unknown until a watch from now has been created. It is moved by what a leg
	// proves, and by nothing else.
	position int64
	least    int64         // what the store has come to, known or delivered before the position was given up
	cluster  uint64        // the ID of the cluster that the position is of, 0 if not known
	failed   uint64        // the ID of the member that failed last, 0 if none
	quiet    time.Duration // how long a watch may be silent
	patience time.Duration // how long it may take to be created, see awaitMember
	// goal is what the member has to come to, and tolerance how long that may take, see keepUp.
	goal      mark
	tolerance time.Duration
	from      from // where the next watch begins
	fragment  bool // large messages are to be divided, see options
	alone     bool // the next watch is not to share a gRPC stream
	anew      bool // the next gap begins anew, see WithRebuild
	worked    bool // a watch was created once
	refusals  int
	large     int // how often in a row a message was too large
	pause     time.Duration
	warned    warner
}

// unknown is the position of a follower that starts from now.
const unknown = -1

func newFollower(d *delivery, poke <-chan int64) *follower {
	return &follower{
		config: d.config, client: d.client, keys: d.keys, buffer: d.buffer, poke: poke, progress: d.progress, streams: d.streams,
		position: d.revision - 1, quiet: d.stall / 2, patience: d.stall, tolerance: d.stall / 2, pause: firstPause, warned: warner{log: d.log, key: d.keys.key},
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

// watch opens a watch and fills the buffer from it. It returns why that ended.
func (f *follower) watch(ctx context.Context) error {
	if f.alone {
		if !take(ctx, f.streams.alone) {
			return ctx.Err()
		}
		defer func() { <-f.streams.alone }()
	}
	w, err := f.open(ctx, f.start())
	if err != nil {
		return err
	}
	defer w.close()
	f.buffer.hold(nil)
	f.progress.receive(w.created.GetRevision())
	f.refusals, f.pause, f.patience, f.worked, f.from = 0, firstPause, f.stall, true, atPosition
	f.warned.over()
	if err := f.begin(ctx, w); err != nil {
		return err
	}
	err = w.line.attribute(newReception(f, w).run(ctx))
	f.failed = 0
	if blames(err) {
		f.failed = w.created.GetMemberId()
		f.streams.replace(w.line)
	}
	return err
}

// blames reports whether a watch has ended for a reason that may be its member's.
func blames(err error) bool {
	return errors.Is(err, errSilent) || errors.Is(err, errBehind) || errors.Is(err, errEnded) || attempt.Transient(err) || ofMember(err)
}

// from says where a watch begins that goes on from the position.
type from int

const (
	// atPosition and not after it: until the store has reached the revision that a watch
	// begins with, the server does not answer on its gRPC stream. What comes again is left
	// out.
	atPosition from = iota
	// fromNow is where history begins only after the position: fine if that is now.
	fromNow
	// afterPosition, if it is not.
	afterPosition
)

// start returns the revision to watch from, 0 for now.
func (f *follower) start() int64 {
	switch {
	case f.position == unknown, f.from == fromNow:
		return 0
	case f.from == afterPosition:
		return f.position + 1
	}
	return max(f.position, 1)
}

// begin checks that a watch that was just created goes on where the position is, and
// takes its beginning for the position if there was none.
func (f *follower) begin(ctx context.Context, w *leg) error {
	if err := f.checkCluster(w.created); err != nil {
		return err
	}
	created := w.created.GetRevision()
	switch {
	case f.position == unknown:
		if created < f.least {
			if err := f.checkFuture(ctx, f.least); err != nil {
				return err
			}
		}
		f.position = created
		f.buffer.put(item{Batch: Batch{Revision: max(created, f.least)}, gap: f.snapshot, anew: f.anew, cluster: f.cluster})
		f.anew = false
	case f.position > created:
		return f.checkFuture(ctx, f.position)
	case f.position < created && w.revision == 0:
		f.from = afterPosition
		return errLate
	}
	return nil
}

// recover prepares for the next watch after one has ended with err, or returns why
// there cannot be one.
func (f *follower) recover(ctx context.Context, err error) error {
	behind := f.position
	if f.position != unknown { // else the last state that was read may be older than what was delivered
		f.position = max(f.position, f.buffer.wanted())
	}
	switch {
	case errors.Is(err, errFull):
		f.log.Info("watch: the consumer is too slow; waiting for it", "key", f.keys.key, "revision", f.position)
		f.buffer.awaitRoom(ctx)
		f.position = max(f.position, f.buffer.wanted())
	case errors.Is(err, errSilent):
		f.log.Debug("watch: the server is silent; opening the watch again", "key", f.keys.key, "revision", f.position)
	case errors.Is(err, errBehind):
		f.log.Debug("watch: the member is behind the others; opening the watch again", "key", f.keys.key, "revision", f.position, "store", f.goal.revision)
	case errors.Is(err, errLate), errors.Is(err, errAside), errors.Is(err, errPast):
	case errors.Is(err, errOthers):
		// It is this watch's own if it comes again when no other is on the gRPC stream.
		f.log.Debug("watch: a message was too large for a shared gRPC stream; opening the watch alone", "key", f.keys.key, "revision", f.position)
		f.alone = true
	case errors.Is(err, ErrCompacted) && f.snapshot:
		f.log.Warn("watch: history is compacted; reading the state", "key", f.keys.key, "error", err)
		if f.position == behind { // else the state has been read since
			f.giveUp()
		}
	case errors.Is(err, ErrCompacted):
		return err
	case errors.Is(err, ErrFutureRevision), errors.Is(err, ErrCluster):
		return f.beginAnew(err)
	case errors.Is(err, errOverdue):
		return f.awaitMember(ctx, err)
	case attempt.TooLarge(err):
		return f.avoidLarge(ctx, err)
	case attempt.Transient(err), ofMember(err):
		f.log.Debug("watch: opening the watch again", "key", f.keys.key, "revision", f.position, "error", err)
		f.rest(ctx)
	default:
		return f.reconsider(ctx, err)
	}
	return nil
}

// giveUp leaves the position behind: the next watch begins now, and the state is read. The
// store is still one that had come to where the position was.
func (f *follower) giveUp() {
	f.least = max(f.least, f.position)
	f.position = unknown
}

// reasonOf returns the kind of reason for which a watch has ended.
func reasonOf(err error) Reason {
	switch {
	case errors.Is(err, errFull):
		return ReasonSlow
	case errors.Is(err, errSilent):
		return ReasonSilent
	case errors.Is(err, errBehind):
		return ReasonBehind
	case errors.Is(err, errOverdue):
		return ReasonStalled
	case errors.Is(err, ErrCompacted):
		return ReasonCompacted
	}
	return ReasonEnded
}

// rest waits for a moment, which grows until a watch is created.
func (f *follower) rest(ctx context.Context) {
	attempt.Pause(ctx, f.pause)
	f.pause = min(2*f.pause, maxPause)
}

// beginAnew starts from the state there is, if that is wanted, of a store that does not go
// on from the position.
func (f *follower) beginAnew(err error) error {
	if !f.rebuild {
		return err
	}
	f.log.Warn("watch: the store is not the one it was; beginning anew", "key", f.keys.key, "error", err)
	f.position, f.least, f.cluster, f.anew, f.goal = unknown, 0, 0, true, mark{}
	f.buffer.reset()
	return nil
}

// awaitMember waits until a member answers, or until it is clear that none ever will. A
// read costs less than the watches that would be opened meanwhile. If one answers and still
// has created no watch, too much is asked of it, as where a thousand clients come back at once
// and each stream has a password checked. So the next opening takes twice as long, and asks
// half as often.
func (f *follower) awaitMember(ctx context.Context, err error) error {
	f.warned.Warn("watch: no member answers; trying on", "error", err, "endpoints", f.client.Endpoints())
	switch _, err := f.current(ctx); {
	case err == nil:
		f.patience = min(2*f.patience, maxPatience*f.stall)
	case ctx.Err() == nil:
		return f.reconsider(ctx, err)
	}
	return nil
}

// avoidLarge goes on after a message that is larger than the client accepts: first in
// fragments, then by reading the state, where that is wanted.
func (f *follower) avoidLarge(ctx context.Context, err error) error {
	switch {
	case !f.fragment:
		f.fragment = true
		return nil
	case f.large < maxRefusals: // a server may send the first message before it knows that it is to be divided
		f.large++
		f.rest(ctx)
		return nil
	case !f.snapshot:
		return f.keys.nameLarge(ctx, f.streams, f.stall/2, f.position, err)
	}
	f.warned.Warn("watch: a change is larger than the client accepts; reading the state", "error", err)
	f.giveUp()
	f.rest(ctx)
	return nil
}

// reconsider is for a refusal. An expired token belongs to the gRPC stream and is mended
// by another; what else it is shows when the same user reads the same key. What has
// worked before may be mended without anybody's help here.
func (f *follower) reconsider(ctx context.Context, err error) error {
	if _, refused := f.current(ctx); refused != nil {
		err = refused
	} else if f.refusals++; f.refusals <= maxRefusals {
		f.rest(ctx)
		return nil
	}
	if !f.worked || ctx.Err() != nil {
		return err
	}
	f.warned.Warn("watch: refused; trying on", "error", err)
	f.rest(ctx)
	return nil
}

// options are those of a watch. Only a client that refuses large messages needs
// fragments: the server takes time quadratic in the number of events to make them,
// minutes for 100,000 small ones.
func (f *follower) options() []clientv3.OpOption {
	if f.fragment {
		return f.keys.options(clientv3.WithFragment())
	}
	return f.keys.options()
}

// checkFuture returns a FutureRevisionError if the store has not reached a revision, and not
// only the member that was asked.
func (f *follower) checkFuture(ctx context.Context, revision int64) error {
	current, err := f.current(ctx)
	if err == nil && current < revision {
		err = &FutureRevisionError{Requested: revision + 1, Current: current}
	}
	return err
}

// checkCluster returns a ClusterError if an answer comes from another cluster than those
// before.
func (f *follower) checkCluster(header *pb.ResponseHeader) error {
	id := header.GetClusterId()
	switch {
	case f.cluster == 0:
		f.cluster = id
	case id != 0 && id != f.cluster:
		return &ClusterError{Expected: f.cluster, Actual: id}
	}
	return nil
}

// current returns the store's revision, for which it asks until a member answers, by
// reading the key: who may watch it may read it.
func (f *follower) current(ctx context.Context) (revision int64, err error) {
	known := f.streams.latest.known()
	resp, err := f.streams.read(ctx, f.stall/10, f.keys.key, clientv3.WithKeysOnly())
	if err != nil {
		return 0, err
	}
	f.streams.latest.learn(known, resp.Header)
	return resp.Header.Revision, f.checkCluster(resp.Header)
}

// warner logs what lasts: once, and then after twice as long each time.
type warner struct {
	log  *slog.Logger
	key  string
	wait time.Duration // 0 if all was well
	next time.Time
}

func (w *warner) Warn(msg string, args ...any) {
	if now := time.Now(); now.After(w.next) {
		w.wait = max(2*w.wait, firstRepeat)
		w.next = now.Add(w.wait)
		w.log.Warn(msg, append([]any{"key", w.key}, args...)...)
	}
}

// over notes that what was warned of is over.
func (w *warner) over() { w.wait, w.next = 0, time.Time{} }
