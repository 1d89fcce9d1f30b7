package watch_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"github.com/conclave-go/conclave/internal/bubble"
	"github.com/conclave-go/conclave/internal/suite"
	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/watch"
)

// crowd is more caches than there may be gRPC streams.
const crowd = 3 * watch.MaxGRPCStreams

// mostStreams is how many gRPC streams those may have: their own, one that the others
// share, and what questions need.
const mostStreams = watch.MaxGRPCStreams + 1 + 4

// newCrowd returns caches of as many prefixes.
func newCrowd(t *testing.T, client *clientv3.Client, opts ...watch.CacheOption) []*watch.Cache[string] {
	t.Helper()
	all := make([]*watch.Cache[string], crowd)
	var loading sync.WaitGroup
	for i := range all {
		loading.Go(func() {
			c, err := watch.NewCache(t.Context(), client, fmt.Sprintf("%03d/", i), text, opts...)
			if err == nil {
				all[i] = c
			}
		})
	}
	loading.Wait()
	for _, c := range all {
		require.NotNil(t, c)
	}
	return all
}

func closeAll(t *testing.T, all []*watch.Cache[string]) {
	t.Helper()
	for _, c := range all {
		require.NoError(t, c.Close(t.Context()))
	}
}

// A connection behind a proxy takes a hundred streams, those of other calls included.
func TestManyCachesOfAClientLeaveRoomForItsOtherCalls(t *testing.T) {
	t.Parallel()
	var spy spy
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		client := s.Client()
		var progress atomic.Pointer[watch.Progress] // of one of them
		all := newCrowd(t, client, watch.WithObserver(watch.Observer{Opened: progress.Store}))
		minutes := suite.Long(5, 60/scale)
		vtime.Advance(time.Duration(minutes) * time.Minute)
		require.LessOrEqual(t, spy.open(), mostStreams)
		require.Greater(t, spy.open(), watch.MaxGRPCStreams)
		require.Equal(t, spy.open(), progress.Load().GRPCStreams())
		require.LessOrEqual(t, len(spy.seen()), mostStreams+(crowd-watch.MaxGRPCStreams)*(minutes+10), "and a question each minute from those that share")

		for i, c := range all {
			rev := put(t, client, fmt.Sprintf("%03d/k", i), "v")
			require.NoError(t, c.WaitRevision(t.Context(), rev))
			item, ok := c.Get(fmt.Sprintf("%03d/k", i))
			require.True(t, ok)
			require.Equal(t, rev, item.ModRevision)
		}
		began := time.Now()
		rev := put(t, client, "elsewhere", "v")
		var waiting sync.WaitGroup
		for _, c := range all {
			waiting.Go(func() {
				if err := c.WaitRevision(t.Context(), rev); err != nil {
					t.Error(err)
				}
			})
		}
		waiting.Wait()
		// Those that share ask by turns, and a server catches up every 100 ms.
		require.LessOrEqual(t, time.Since(began), (crowd-watch.MaxGRPCStreams)/4*300*time.Millisecond)
		require.LessOrEqual(t, spy.open(), mostStreams)
		closeAll(t, all)
		vtime.Advance(time.Second)
		require.Zero(t, spy.open())
		require.Zero(t, progress.Load().GRPCStreams())
	}, spy.option(), vtime.WithServerOptions(grpc.MaxConcurrentStreams(60)))
}

// The watch of a cache that shares its gRPC stream is left like any other when the server
// is silent there.
func TestSharedGRPCStreamThatIsSilentIsLeft(t *testing.T) {
	t.Parallel()
	var spy spy
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		client := s.Client()
		all := newCrowd(t, client, watch.WithStall(10*time.Second))
		vtime.Advance(time.Minute)
		spy.silence()
		for i := range all {
			put(t, client, fmt.Sprintf("%03d/k", i), "v")
		}
		vtime.Advance(15 * time.Second)
		for i, c := range all {
			_, ok := c.Get(fmt.Sprintf("%03d/k", i))
			require.True(t, ok, "cache %d", i)
		}
		vtime.Advance(time.Minute)
		require.LessOrEqual(t, spy.open(), mostStreams)
		closeAll(t, all)
		vtime.Advance(time.Second)
	}, spy.option())
}

// overtaken are caches of which many share a gRPC stream, whose events come late there, while
// nothing else does: one event of each.
type overtaken struct {
	all  []*watch.Cache[string]
	revs []int64
}

func newOvertaken(t *testing.T, client *clientv3.Client, spy *spy) overtaken {
	t.Helper()
	o := overtaken{all: newCrowd(t, client, watch.WithStall(10*time.Second))}
	vtime.Advance(time.Second)
	spy.overtake(6 * time.Second) // it is asked for signs of life every two
	for i := range o.all {
		o.revs = append(o.revs, put(t, client, fmt.Sprintf("%03d/k", i), "v"))
	}
	return o
}

// has returns how many caches have their event.
func (o overtaken) has() (n int) {
	for i, c := range o.all {
		if _, ok := c.Get(fmt.Sprintf("%03d/k", i)); ok {
			n++
		}
	}
	return n
}

// A sign of life says that the server has come to a revision, and not that all events up to it
// have come here.
func TestEventsThatASignOfLifeOvertakesOnASharedGRPCStreamAreDelivered(t *testing.T) {
	t.Parallel()
	var spy spy
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		o := newOvertaken(t, s.Client(), &spy)
		vtime.Advance(5 * time.Second)
		require.Less(t, o.has(), crowd, "events were held back")
		vtime.Advance(10 * time.Second)
		require.Equal(t, crowd, o.has())
		closeAll(t, o.all)
		vtime.Advance(time.Second)
	}, spy.option())
}

// The answer to a question comes on another stream.
func TestEventsThatAnAnswerOvertakesAreDelivered(t *testing.T) {
	t.Parallel()
	var spy spy
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		o := newOvertaken(t, s.Client(), &spy)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for i, c := range o.all {
			require.NoError(t, c.WaitRevision(ctx, o.revs[i]))
			_, ok := c.Get(fmt.Sprintf("%03d/k", i))
			require.True(t, ok, "cache %d", i)
		}
		for _, stream := range spy.seen() {
			if len(stream.created) > 1 {
				require.Zero(t, stream.asked, "an answer there would go to all who share it")
			}
		}
		closeAll(t, o.all)
		vtime.Advance(time.Second)
	}, spy.option())
}

// What was compacted while nothing of it was a cache's own is no gap, but can only be
// shown by reading the state.
func TestCompactionDoesNotKeepASharedStreamFromItsRevision(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		client := s.Client()
		all := newCrowd(t, client)
		for range 10 {
			put(t, client, "elsewhere", "v")
		}
		rev := s.Compact(t.Context())
		for _, c := range all {
			require.NoError(t, c.WaitRevision(t.Context(), rev))
			require.NoError(t, c.Err())
		}
		closeAll(t, all)
	})
}

// Where nothing happens there is nothing to ask for, and where something does, not all ask
// at the same time.
func TestWatchesThatShareAskOnlyIfSomethingHasHappenedAndNotTogether(t *testing.T) {
	t.Parallel()
	var spy spy
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		client := s.Client()
		all := newCrowd(t, client, watch.WithStall(10*time.Second))
		vtime.Advance(3 * time.Minute)
		before := spy.seen()
		require.LessOrEqual(t, len(before), watch.MaxGRPCStreams+1, "nobody has asked")

		rev := put(t, client, "elsewhere", "v")
		vtime.Advance(65 * time.Second)
		asked := spy.seen()[len(before):]
		require.Len(t, asked, crowd-watch.MaxGRPCStreams)
		require.Greater(t, asked[len(asked)-1].opened.Sub(asked[0].opened), 6*time.Second)
		for i, c := range all {
			revision, _ := c.Freshness()
			require.Equal(t, rev, revision, "cache %d", i)
		}
		closeAll(t, all)
		vtime.Advance(time.Second)
	}, spy.option())
}

// However many positions are to be kept fresh, who waits for a revision may ask.
func TestQuestionsThatNobodyWaitsForLetOthersGoBefore(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		client := new(clientv3.Client) // it is not used
		ctx, cancel := context.WithCancel(t.Context())
		turns := make(chan func(), 100)
		var asking sync.WaitGroup
		for range cap(turns) {
			asking.Go(func() {
				if done, ok := watch.AwaitRoutine(ctx, client); ok {
					turns <- done
				}
			})
		}
		synctest.Wait()
		require.Len(t, turns, 2, "of four")
		for range 2 {
			done, ok := watch.AwaitTurn(ctx, client)
			require.True(t, ok)
			turns <- done
		}
		cancel()
		asking.Wait()
		for len(turns) > 0 {
			(<-turns)()
		}
	})
}

// Streams without own gRPC streams keep the promise about compaction, too.
func TestPositionOfASharedStreamIsKeptFresh(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		client, cut := s.CutClient()
		streams := make([]<-chan arrival, crowd)
		for i := range streams {
			streams[i] = arrivals(ctx, client, fmt.Sprint("k", i), watch.WithStall(10*time.Second))
		}
		other := s.Client()
		vtime.Advance(time.Second)
		for range 10 {
			put(t, other, "busy", "v")
		}
		vtime.Advance(2 * time.Minute)
		cut.Reset()
		cut.Cut()
		s.Compact(ctx)
		var revs []int64
		for i := range streams {
			revs = append(revs, put(t, other, fmt.Sprint("k", i), "v"))
		}
		cut.Heal()
		vtime.Advance(time.Minute)
		synctest.Wait()
		for i, ch := range streams {
			var events []string
			for len(ch) > 0 {
				a := <-ch
				require.NoError(t, a.err, "stream %d", i)
				events = append(events, show(a.Batch)...)
			}
			require.Equal(t, []string{set(fmt.Sprint("k", i), "v", revs[i])}, events, "stream %d", i)
		}
		cancel()
		vtime.Advance(time.Second)
	})
}
