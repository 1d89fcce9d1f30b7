package election

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"

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

// saw notes who leads as of a revision.
func (f *follower) saw(leader Leader, revision int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := len(f.recent); n > 0 && f.place.same(f.recent[n-1].leader, leader) {
		return
	}
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

// follow notes every change of the leader until ctx ends or the watch fails. Credentials
// that have worked before are tried again: somebody may mend them.
func (f *follower) follow(ctx context.Context, client *clientv3.Client, p place) error {
	var t trail
	pause := firstHealing
	for {
		worked := t.revision
		err := f.followOn(ctx, client, p, &t)
		if worked < t.revision {
			pause = firstHealing
		}
		var compacted *watch.CompactedError
		switch {
		case errors.As(err, &compacted) && t.revision > 0:
			t = trail{resumed: true}
			continue
		case t.revision == 0 && !t.resumed, !unknown(err):
			return err
		}
		client.GetLogger().Warn("election: the observer of " + p.prefix + " is not authenticated and goes on trying: " + err.Error())
		if !attempt.Pause(ctx, pause) {
			return err
		}
		pause = min(2*pause, mostHealing)
	}
}

const (
	// firstHealing and mostHealing bound the pauses between attempts with credentials
	// that are not taken: each is a check of a password.
	firstHealing = 500 * time.Millisecond
	mostHealing  = 30 * time.Second
)

// trail is how far a follower has got.
type trail struct {
	candidates roll
	revision   int64 // 0 before the first batch
	resumed    bool  // it has begun anew, since history was gone
}

// followOn goes on from where the trail ends.
func (f *follower) followOn(ctx context.Context, client *clientv3.Client, p place, t *trail) error {
	from := watch.WithSnapshot()
	if t.revision > 0 {
		from = watch.WithRevision(t.revision + 1)
	}
	for batch, err := range watch.Stream(ctx, client, p.prefix, watch.WithPrefix(), from) {
		if err != nil {
			return err
		}
		stepwise := !batch.Snapshot && !batch.Resync // else what led to the state is not known
		for i, ev := range batch.Events {
			if stepwise && i > 0 && ev.Kv.ModRevision != batch.Events[i-1].Kv.ModRevision {
				f.saw(t.candidates.leader(p), batch.Events[i-1].Kv.ModRevision)
			}
			t.candidates.apply(ev)
		}
		t.revision = max(t.revision, batch.Revision)
		f.saw(t.candidates.leader(p), batch.Revision)
	}
	return errStreamEnded
}

// unknown reports whether the server does not take the credentials. What a user may read is
// another matter: an observer whose role has changed is to hear of it.
func unknown(err error) bool {
	return attempt.Code(err) == codes.Unauthenticated || errors.Is(err, rpctypes.ErrAuthFailed) ||
		errors.Is(err, rpctypes.ErrUserEmpty) || errors.Is(err, rpctypes.ErrUserNotFound)
}
