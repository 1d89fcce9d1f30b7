package election

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/attempt"
	"github.com/conclave-go/conclave/watch"
)

// maxBehind is how many changes are kept for observers that are slow.
const maxBehind = 128

// sighting is a leader, or none, as of a revision.
type sighting struct {
	leader   Leader
	revision int64
}

// follower watches one election on behalf of all its observers with one client.
type follower struct {
	place  place
	cancel context.CancelFunc
	done   chan struct{} // closed when the watch has ended
	users  int           // protected by the registry's mu

	mu      sync.Mutex
	recent  []sighting // the newest last
	dropped int        // how many were before the first of recent
	err     error      // why there will be no more
	changed chan struct{}
}

// from returns what was seen from number i on, or from the first that is still kept; the
// number of what is seen next; a channel that is closed when there is more; and, if
// there will not be, why.
func (f *follower) from(i int) (news []sighting, next int, more <-chan struct{}, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i = max(i-f.dropped, 0)
	return slices.Clone(f.recent[i:]), f.dropped + len(f.recent), f.changed, f.err
}

// begun waits until there is something to go on from.
func (f *follower) begun(ctx context.Context) error {
	for {
		news, _, more, err := f.from(0)
		if len(news) > 0 || err != nil {
			return err
		}
		select {
		case <-more:
		case <-ctx.Done():
			return attempt.Ended(ctx, nil)
		}
	}
}

// saw notes who leads as of a revision, if that is not known. Nothing was missed since the
// last time.
func (f *follower) saw(leader Leader, revision int64) {
	f.mu.Lock()
	known := len(f.recent) > 0 && f.place.same(f.recent[len(f.recent)-1].leader, leader)
	f.mu.Unlock()
	if !known {
		f.sawAgain(leader, revision)
	}
}

// sawAgain notes who leads as of a revision, also if it is as before: something was missed, and
// an observer that has come meanwhile may have been told of another leader.
func (f *follower) sawAgain(leader Leader, revision int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.recent = append(f.recent, sighting{leader, revision})
	if len(f.recent) > maxBehind {
		f.recent = slices.Delete(f.recent, 0, 1)
		f.dropped++
	}
	f.tell()
}

// fail notes that nothing more will be seen.
func (f *follower) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
	f.tell()
}

// tell wakes the observers. mu must be held.
func (f *follower) tell() {
	close(f.changed)
	f.changed = make(chan struct{})
}

var errStreamEnded = errors.New("the stream of changes has ended")

// follow notes every change of the leader until ctx ends or the watch fails.
func (f *follower) follow(ctx context.Context, client *clientv3.Client, p place) error {
	var candidates roll
	log := slog.New(clientLog{warn: func(msg string) { client.GetLogger().Warn(msg) }, keys: p.prefix})
	for batch, err := range watch.Stream(ctx, client, p.prefix, watch.WithPrefix(), watch.WithSnapshot(), watch.WithLogger(log)) {
		if err != nil {
			return err
		}
		f.take(&candidates, batch)
	}
	return errStreamEnded
}

// take notes what a batch says.
func (f *follower) take(candidates *roll, batch watch.Batch) {
	stepwise := !batch.Snapshot && !batch.Resync // else what led to the state is not known
	for i, ev := range batch.Events {
		if stepwise && i > 0 && ev.Kv.ModRevision != batch.Events[i-1].Kv.ModRevision {
			f.saw(candidates.leader(f.place), batch.Events[i-1].Kv.ModRevision)
		}
		candidates.apply(ev)
	}
	if stepwise {
		f.saw(candidates.leader(f.place), batch.Revision)
	} else {
		f.sawAgain(candidates.leader(f.place), batch.Revision)
	}
}

// clientLog passes warnings on to the client's logger: an observer has no other.
type clientLog struct {
	slog.Handler // for the methods that a watch does not call

	warn func(msg string)
	keys string
}

// Enabled implements [slog.Handler].
func (l clientLog) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }

// Handle implements [slog.Handler].
func (l clientLog) Handle(_ context.Context, r slog.Record) error {
	text := "election: observing " + l.keys + ": " + r.Message
	r.Attrs(func(a slog.Attr) bool {
		text += ", " + a.String()
		return true
	})
	l.warn(text)
	return nil
}
