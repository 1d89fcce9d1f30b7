package lock_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/suite"
	"github.com/conclave-go/conclave/lock"
)

// audience is many acquisitions that wait, in their order, and those they wait for.
type audience struct {
	t     *testing.T
	peers []*peer
	queue []<-chan outcome
}

var audienceSize = suite.Long(30, 100)

// newAudience lets as many wait as there are ways to wait, again and again.
func newAudience(t *testing.T, c *etcdtest.Cluster, ways ...how) *audience {
	t.Helper()
	w := &audience{t: t, peers: newPeers(t, c, 10, withTTL(calm))}
	ctx, cancel := context.WithCancel(guarded(t))
	t.Cleanup(func() { // those who are left
		cancel()
		for _, done := range w.queue {
			await(t, done, "the acquisition returns")
		}
	})
	for i := range audienceSize {
		done, _ := w.peers[i%len(w.peers)].queueUpTo(ctx, t, ways[i%len(ways)], "m")
		w.queue = append(w.queue, done)
	}
	return w
}

// next returns the hold of the one whose turn it is.
func (w *audience) next() *lock.Hold {
	w.t.Helper()
	h := granted(w.t, w.queue[0])
	w.queue = w.queue[1:]
	return h
}

// delivered returns how many events all watches of all clients have been sent.
func (w *audience) delivered() (n int) {
	for _, p := range w.peers {
		n += len(events(p.Rec))
	}
	return n
}

// watching returns how many watches there have been.
func (w *audience) watching() (n int) {
	for _, p := range w.peers {
		n += p.watching()
	}
	return n
}

// rounds is how often a lock is passed on, so that an event too much is noticed even
// if it comes late.
const rounds = 10

func TestOneReleaseSendsOneEventToAHundredWhoWait(t *testing.T) {
	t.Parallel()
	for name, k := range map[string]struct{ first, next how }{
		"mutex":   {exclusively, exclusively},
		"writers": {writing, writing},
		"multi":   {together("a"), together("a")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := etcdtest.New(t, etcdtest.WithControl())
			holder := newPeer(t, c, withTTL(calm))
			h := holder.take(t, k.first, "m")
			w := newAudience(t, c, k.next)
			require.Zero(t, w.delivered())
			for i := range rounds {
				unlock(t, h)
				h = w.next()
				// The watch of the second covers its own key, too, and may hear of that one's end before it is cancelled.
				require.GreaterOrEqual(t, w.delivered(), i+1, "after %d releases", i+1)
				require.LessOrEqual(t, w.delivered(), 2*(i+1), "after %d releases", i+1)
			}
			unlock(t, h)
		})
	}
}

func TestOneReleaseOfAWriterSendsOneEventToEachReaderWhoWaitsForIt(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	holder := newPeer(t, c, withTTL(calm))
	h := holder.take(t, writing, "m")
	w := newAudience(t, c, reading)
	later, _ := holder.queueUpTo(guarded(t), t, writing, "m")
	after, _ := holder.queueUpTo(guarded(t), t, reading, "m")
	unlock(t, h)
	var readers []*lock.Hold
	for range audienceSize {
		readers = append(readers, w.next())
	}
	require.Equal(t, audienceSize, w.delivered())
	for _, h := range readers {
		stillWaits(t, later)
		stillWaits(t, after)
		unlock(t, h)
	}
	require.Equal(t, audienceSize, w.delivered(), "nobody heard of the readers but the writer")
	unlock(t, granted(t, later))
	unlock(t, granted(t, after))
}

func TestOneReaderWhoLeavesSendsOneEventToTheWriterWhoWatchesIt(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	holder := newPeer(t, c, withTTL(calm))
	first, second := holder.take(t, reading, "m"), holder.take(t, reading, "m")
	w := newAudience(t, c, writing, reading)
	unlock(t, first)
	require.Zero(t, w.delivered(), "nobody watches it")
	unlock(t, second)
	writer := w.next()
	require.Equal(t, 1, w.delivered())
	unlock(t, writer)
	reader := w.next()
	require.Equal(t, 2, w.delivered(), "the reader, not the writer behind it")
	unlock(t, reader)
}

func TestOneReleaseOfPermitsSendsADeleteAndAPutToAHundredWhoWait(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	holder := newPeer(t, c, withTTL(calm))
	var holds []*lock.Hold
	for range rounds {
		holds = append(holds, holder.take(t, permits(1, rounds), "m"))
	}
	w := newAudience(t, c, permits(1, rounds))
	require.Zero(t, w.delivered())
	watched := w.watching()
	for i, h := range holds {
		unlock(t, h)
		holds[i] = w.next()
		// Its mark has made another the first who waits, who then watches for any to go.
		eventually(t, func() bool { return w.watching() > watched+i }, "another is the first")
		// Less if the first who waits found out by the read that follows its watch's creation.
		require.LessOrEqual(t, w.delivered(), 2*(i+1), "after %d releases", i+1)
		require.Greater(t, w.delivered(), i, "after %d releases", i+1)
	}
	for _, p := range w.peers {
		for _, e := range events(p.Rec) {
			require.False(t, e.IsCreate(), "nobody hears of those who come")
		}
	}
	for _, h := range holds {
		unlock(t, h)
	}
}
