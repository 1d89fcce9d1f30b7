package watch_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/conclave-go/conclave/internal/suite"
	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/watch"
)

// gRPCStream is what a server has seen of one of a client's streams for watches.
type gRPCStream struct {
	grpc.ServerStream
	spy     *spy
	opened  time.Time
	number  string
	mute    bool          // nothing that is sent arrives
	slow    time.Duration // what events take to arrive
	held    []any         // events that others overtake
	due     time.Time     // until then
	asked   int           // for progress
	created []*pb.WatchCreateRequest
	closed  bool
}

func (s *gRPCStream) SendMsg(m any) error {
	s.spy.mu.Lock()
	mute, slow := s.mute, s.slow
	if resp, ok := m.(*pb.WatchResponse); ok && !resp.Created {
		mute = mute || s.spy.terse
	}
	s.spy.mu.Unlock()
	if mute || s.hold(m) {
		return nil
	}
	defer s.release()
	if resp, ok := m.(*pb.WatchResponse); ok && len(resp.Events) > 0 {
		vtime.Sleep(slow)
	}
	return s.ServerStream.SendMsg(m)
}

// hold keeps events back that others on a shared stream are to overtake.
func (s *gRPCStream) hold(m any) bool {
	s.spy.mu.Lock()
	defer s.spy.mu.Unlock()
	resp, ok := m.(*pb.WatchResponse)
	if !ok || len(resp.Events) == 0 || s.spy.overtaken == 0 || len(s.created) < 2 {
		return false
	}
	if len(s.held) == 0 {
		s.due = time.Now().Add(s.spy.overtaken)
	}
	s.held = append(s.held, m)
	return true
}

// release sends what was held back for long enough, after another message.
func (s *gRPCStream) release() {
	s.spy.mu.Lock()
	var held []any
	if !time.Now().Before(s.due) {
		held, s.held = s.held, nil
	}
	s.spy.mu.Unlock()
	for _, m := range held {
		_ = s.ServerStream.SendMsg(m) // it fails as the next will
	}
}

func (s *gRPCStream) RecvMsg(m any) error {
	err := s.ServerStream.RecvMsg(m)
	if req, ok := m.(*pb.WatchRequest); ok && err == nil {
		s.spy.mu.Lock()
		defer s.spy.mu.Unlock()
		if req.GetProgressRequest() != nil {
			s.asked++
		}
		if create := req.GetCreateRequest(); create != nil {
			s.created = append(s.created, create)
		}
	}
	return err
}

// spy sees the streams for watches of a server, and can make it keep silent on them.
type spy struct {
	mu      sync.Mutex
	streams []*gRPCStream
	mute    func(*gRPCStream) bool // of streams to come
	slow    time.Duration          // of streams to come
	// overtaken is for how long events on a shared stream are held back while other messages are
	// not: a server keeps the order of those of one watch only.
	overtaken time.Duration
	terse     bool // nothing but the creation of watches arrives
}

// sayOnlyThatItIsCreated sets terse.
func (s *spy) sayOnlyThatItIsCreated(terse bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.terse = terse
}

func (s *spy) option() vtime.Option {
	return vtime.WithServerOptions(grpc.ChainStreamInterceptor(
		func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
			if !strings.HasSuffix(info.FullMethod, "/Watch") {
				return handler(srv, stream)
			}
			seen := s.add(stream)
			defer s.close(seen)
			return handler(srv, seen)
		}))
}

func (s *spy) add(stream grpc.ServerStream) *gRPCStream {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := &gRPCStream{ServerStream: stream, spy: s, opened: time.Now(), slow: s.slow}
	if md, ok := metadata.FromIncomingContext(stream.Context()); ok {
		seen.number = strings.Join(md.Get(watch.StreamKey), ",")
	}
	if s.mute != nil {
		seen.mute = s.mute(seen)
	}
	s.streams = append(s.streams, seen)
	return seen
}

func (s *spy) close(stream *gRPCStream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	stream.closed = true
}

// open returns how many streams are open.
func (s *spy) open() (n int) {
	for _, stream := range s.seen() {
		if !stream.closed {
			n++
		}
	}
	return n
}

// silence lets nothing arrive that is sent on the streams there are.
func (s *spy) silence() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, stream := range s.streams {
		stream.mute = true
	}
}

// overtake sets overtaken.
func (s *spy) overtake(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.overtaken = d
}

// seen returns a copy of what is known of the streams.
func (s *spy) seen() (all []gRPCStream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, stream := range s.streams {
		all = append(all, *stream)
	}
	return all
}

// arrival is a batch and when it came.
type arrival struct {
	watch.Batch
	err error
	at  time.Time
}

// arrivals consumes a stream in the background.
func arrivals(ctx context.Context, client *clientv3.Client, key string, opts ...watch.Option) <-chan arrival {
	ch := make(chan arrival, 1000)
	go func() {
		defer close(ch)
		for b, err := range watch.Stream(ctx, client, key, opts...) {
			ch <- arrival{b, err, time.Now()}
		}
	}()
	return ch
}

// eventsOf returns the events that have arrived.
func eventsOf(ch <-chan arrival) (all []string, last time.Time) {
	for len(ch) > 0 {
		a := <-ch
		if len(a.Events) > 0 {
			all, last = append(all, show(a.Batch)...), a.at
		}
	}
	return all, last
}

func TestSilentStreamIsReopenedOnAnotherGRPCStreamWithinTheStallLimit(t *testing.T) {
	t.Parallel()
	for _, limit := range []time.Duration{watch.MinStall, watch.DefaultStall, time.Minute} {
		t.Run(limit.String(), func(t *testing.T) {
			t.Parallel()
			var spy spy
			vtime.Run(t, func(t *testing.T, s *vtime.Server) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				client := s.Client()
				ch := arrivals(ctx, client, "k", watch.WithStall(limit))
				vtime.Advance(10 * limit)
				require.Len(t, spy.seen(), 1)

				spy.silence()
				began := time.Now()
				rev := put(t, s.Client(), "k", "v")
				vtime.Advance(2 * limit)
				events, at := eventsOf(ch)
				require.Equal(t, []string{set("k", "v", rev)}, events)
				// The rest is for catching up, which the server does every 100 ms.
				require.LessOrEqual(t, at.Sub(began), limit+100*time.Millisecond)
				require.GreaterOrEqual(t, at.Sub(began), limit/5, "not at the first doubt")
				// clientv3 may have closed the silent one by itself, for lack of watches.
				require.Greater(t, len(spy.seen()), 1)
				cancel()
				vtime.Advance(time.Second)
			}, spy.option())
		})
	}
}

func TestStreamSearchesForAGRPCStreamThatWorks(t *testing.T) {
	t.Parallel()
	spy := spy{mute: func(s *gRPCStream) bool { return len(s.spy.streams) != 3 }}
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		ch := arrivals(ctx, s.Client(), "k", watch.WithSnapshot(), watch.WithStall(time.Second))
		vtime.Advance(5 * time.Second)
		require.Len(t, ch, 1)
		require.True(t, (<-ch).Snapshot)
		rev := put(t, s.Client(), "k", "v")
		synctest.Wait()
		events, _ := eventsOf(ch)
		require.Equal(t, []string{set("k", "v", rev)}, events)
	}, spy.option())
}

// A long history is one message, which may take longer to arrive than the stall limit.
func TestHistoryThatTakesLongerThanTheStallLimitArrives(t *testing.T) {
	t.Parallel()
	spy := spy{slow: time.Minute}
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		rev := put(t, s.Client(), "k", "v")
		put(t, s.Client(), "other", "v")
		ch := arrivals(ctx, s.Client(), "k", watch.WithRevision(rev), watch.WithStall(10*time.Second))
		vtime.Advance(10 * time.Minute)
		events, _ := eventsOf(ch)
		require.Equal(t, []string{set("k", "v", rev)}, events)
	}, spy.option())
}

// Where there is no history, silence is not that of a long message that is on its way.
func TestAWatchWithoutHistoryIsNotGivenMoreTimeEachTime(t *testing.T) {
	t.Parallel()
	const limit = 10 * time.Second
	var spy spy
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		client := s.Client()
		put(t, client, "k", "v")
		var left atomic.Int64
		ch := arrivals(ctx, client, "k", watch.WithStall(limit), watch.WithObserver(watch.Observer{
			Reopened: func(_ *watch.Progress, why watch.Reason) {
				if why == watch.ReasonSilent {
					left.Add(1)
				}
			},
		}))
		vtime.Advance(time.Second)
		spy.sayOnlyThatItIsCreated(true)
		vtime.Advance(10 * limit)
		require.GreaterOrEqual(t, left.Load(), int64(15), "each after half of the limit")
		spy.sayOnlyThatItIsCreated(false)
		vtime.Advance(limit)
		before := left.Load()
		rev := put(t, client, "k", "w")
		vtime.Advance(time.Second)
		events, _ := eventsOf(ch)
		require.Equal(t, []string{set("k", "w", rev)}, events)
		require.Equal(t, before, left.Load())
	}, spy.option())
}

func TestQuietStreamsStayOpenAndAskSeldom(t *testing.T) {
	t.Parallel()
	var spy spy
	const streams = 20
	life := suite.Long(10*time.Minute, time.Hour)
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		client := s.Client()
		for range streams {
			arrivals(ctx, client, "k", watch.WithStall(8*time.Second))
		}
		vtime.Advance(life)
		seen := spy.seen()
		require.Len(t, seen, streams, "a gRPC stream for each")
		for _, stream := range seen {
			require.Len(t, stream.created, 1, "opened once")
			require.LessOrEqual(t, stream.asked, int(life/time.Second)*5/8, "about five times in a stall limit")
			require.Greater(t, stream.asked, int(life/time.Second)/8)
		}
	}, spy.option())
}

// A watch that clientv3 resumes from a revision which the store has not reached gets no
// sign of life from the server until the store has.
func TestQuietStreamsSurviveAReconnect(t *testing.T) {
	t.Parallel()
	var spy spy
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		client, cut := s.CutClient()
		ch := arrivals(ctx, client, "k", watch.WithStall(10*time.Second))
		vtime.Advance(time.Second)
		put(t, s.Client(), "k", "1")
		vtime.Advance(time.Minute)
		cut.Reset()
		vtime.Advance(time.Hour)
		creates := 0
		for _, stream := range spy.seen() {
			creates += len(stream.created)
		}
		require.LessOrEqual(t, creates, 3, "once, resumed once, and opened again once")
		rev := put(t, s.Client(), "k", "2")
		synctest.Wait()
		events, _ := eventsOf(ch)
		require.Equal(t, set("k", "2", rev), events[1])
		require.Len(t, events, 2)
	}, spy.option())
}

// The revision of a quiet stream advances, so that compaction does not catch up with
// it.
func TestProgressKeepsTheResumeRevisionFresh(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		client, cut := s.CutClient()
		ch := arrivals(ctx, client, "quiet", watch.WithStall(10*time.Second))
		other := s.Client()
		vtime.Advance(time.Second)
		var rev int64
		for range 100 {
			rev = put(t, other, "busy", "v")
		}
		vtime.Advance(10 * time.Second)
		var last watch.Batch
		for len(ch) > 0 {
			b := (<-ch).Batch
			require.Greater(t, b.Revision, last.Revision, "the same news twice")
			last = b
		}
		require.Equal(t, rev, last.Revision)
		require.Empty(t, last.Events)

		cut.Cut()
		require.Equal(t, rev, s.Compact(ctx))
		cut.Heal()
		vtime.Advance(time.Minute)
		rev = put(t, other, "quiet", "v")
		synctest.Wait()
		events, _ := eventsOf(ch)
		require.Equal(t, []string{set("quiet", "v", rev)}, events)
	})
}

// What was compacted reaches to the revision after the position, which is in the history still.
func TestWhatIsRightAfterThePositionIsDeliveredAlthoughHistoryBeginsThere(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		client, cut := s.CutClient()
		other := s.Client()
		ch := arrivals(ctx, client, "k", watch.WithStall(10*time.Second))
		vtime.Advance(time.Second)
		cut.Cut()
		rev := put(t, other, "k", "v")
		require.Equal(t, rev, s.Compact(ctx))
		cut.Heal()
		vtime.Advance(time.Minute)
		events, _ := eventsOf(ch)
		require.Equal(t, []string{set("k", "v", rev)}, events)
	})
}

func TestARevisionThatTheStoreHasNotReachedIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		client := s.Client()
		rev := put(t, client, "k", "v")
		ch := arrivals(ctx, client, "k", watch.WithRevision(rev+2))
		vtime.Advance(time.Minute)
		require.Len(t, ch, 1)
		require.ErrorIs(t, (<-ch).err, watch.ErrFutureRevision)
	})
}

// What its consumer has no room for stays on the server, and comes when there is.
func TestAStreamWhoseConsumerIsSlowHasNoWatch(t *testing.T) {
	t.Parallel()
	var spy spy
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		client := s.Client()
		p := newTap(t, client, "k", watch.WithBuffer(1))
		p.next()
		var want []string
		var last int64
		for i := range 10 {
			value := fmt.Sprint(i)
			last = put(t, client, "k", value)
			want = append(want, set("k", value, last))
			vtime.Advance(time.Second)
			require.Zero(t, spy.open())
		}
		require.Equal(t, want, p.upTo(last))
	}, spy.option())
}

func TestAMemberThatRefusesIsAskedLessAndLess(t *testing.T) {
	t.Parallel()
	const most = 1000 // else time would stand still
	var refused atomic.Int64
	refuse := func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		if strings.HasSuffix(info.FullMethod, "/Watch") && refused.Add(1) <= most {
			return rpctypes.ErrGRPCNoLeader
		}
		return handler(srv, stream)
	}
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		ch := arrivals(ctx, s.Client(), "k")
		vtime.Advance(time.Minute)
		require.Empty(t, ch)
		require.Less(t, refused.Load(), int64(most))
	}, vtime.WithServerOptions(grpc.ChainStreamInterceptor(refuse)))
}

func TestContextEndsAStreamAtOnceWhateverIsBroken(t *testing.T) {
	t.Parallel()
	waits := []time.Duration{0, 3 * time.Second, time.Millisecond, 30 * time.Second}[:suite.Long(2, 4)]
	for _, way := range []struct {
		name string
		cut  func(*vtime.Cut)
	}{
		{"not cut", func(*vtime.Cut) {}},
		{"cut", (*vtime.Cut).Cut},
		{"to the server", (*vtime.Cut).CutToServer},
		{"to the client", (*vtime.Cut).CutToClient},
		{"held", (*vtime.Cut).Hold},
	} {
		for _, opts := range [][]watch.Option{nil, {watch.WithSnapshot()}, {watch.WithRevision(1)}} {
			for _, wait := range waits {
				t.Run(way.name+"/"+wait.String(), func(t *testing.T) {
					t.Parallel()
					vtime.Run(t, func(t *testing.T, s *vtime.Server) {
						client, cut := s.CutClient()
						open, stop := context.WithCancel(t.Context())
						early := arrivals(open, client, "k", opts...)
						vtime.Advance(time.Second)
						way.cut(cut)
						late := arrivals(open, client, "k", opts...)
						vtime.Advance(wait)
						stop()
						synctest.Wait() // no virtual time passes
						for _, ch := range []<-chan arrival{early, late} {
							require.NotEmpty(t, ch)
							var last arrival
							for len(ch) > 0 {
								last = <-ch
							}
							require.ErrorIs(t, last.err, context.Canceled)
							select {
							case _, open := <-ch:
								require.False(t, open)
							default:
								require.Fail(t, "the loop has not ended")
							}
						}
						cut.Heal()
					})
				})
			}
		}
	}
}

// clientv3 keeps a gRPC stream whose last watch ends before the server has created it,
// also while it is resumed after a lost connection.
func TestNoGRPCStreamOutlivesItsStreamWheneverThatEnds(t *testing.T) {
	t.Parallel()
	for _, within := range []bool{false, true} {
		for _, end := range []time.Duration{
			0, time.Nanosecond, time.Microsecond, time.Millisecond, 100 * time.Millisecond, time.Second, 7 * time.Second, time.Minute,
		} {
			t.Run(fmt.Sprint(within, "/", end), func(t *testing.T) {
				t.Parallel()
				var spy spy
				vtime.Run(t, func(t *testing.T, s *vtime.Server) {
					client, cut := s.CutClient()
					if within {
						inside(client, "a/")
						inside(client, "b/")
					}
					ctx, cancel := context.WithCancel(t.Context())
					arrivals(ctx, client, "k")
					arrivals(ctx, client, "k", watch.WithSnapshot(), watch.WithPrefix())
					vtime.Advance(time.Second)
					cut.Reset()
					cut.Cut()
					arrivals(ctx, client, "k", watch.WithRevision(1))
					vtime.Advance(end)
					cancel()
					vtime.Advance(time.Second)
					cut.Heal()
					vtime.Advance(time.Minute)
					require.Zero(t, spy.open())

					// And while all is well.
					ctx, cancel = context.WithCancel(t.Context())
					arrivals(ctx, client, "k", watch.WithRevision(1))
					vtime.Advance(end)
					require.LessOrEqual(t, spy.open(), 1)
					cancel()
					vtime.Advance(time.Second)
					require.Zero(t, spy.open())
				}, spy.option())
			})
		}
	}
}
