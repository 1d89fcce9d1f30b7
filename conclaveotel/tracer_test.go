package conclaveotel_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"

	"github.com/conclave-go/conclave/conclaveotel"
	"github.com/conclave-go/conclave/election"
	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

// guard is how long a test waits for what must happen; only a failure takes that long.
const guard = 5 * time.Minute

func guarded(tb testing.TB) context.Context {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), guard)
	tb.Cleanup(cancel)
	return ctx
}

// stage is a process whose spans are exported into memory.
type stage struct {
	cluster  *etcdtest.Cluster
	exporter *tracetest.InMemoryExporter
	provider *sdk.TracerProvider
	tracer   *conclaveotel.Tracer
	session  *lease.Session
	waiting  chan lease.Event
	name     string
	// called has the span in the context of each request.
	called chan trace.SpanContext
}

func newStage(t *testing.T) *stage {
	t.Helper()
	x := &stage{
		cluster: etcdtest.New(t), exporter: tracetest.NewInMemoryExporter(),
		waiting: make(chan lease.Event, 100), called: make(chan trace.SpanContext, 1000),
	}
	x.name = x.cluster.Prefix(t) + "m"
	x.provider = sdk.NewTracerProvider(sdk.WithSyncer(x.exporter))
	var err error
	x.tracer, err = conclaveotel.New(conclaveotel.WithTracerProvider(x.provider))
	require.NoError(t, err)
	x.session = x.newSession(t)
	return x
}

func (x *stage) newSession(t *testing.T) *lease.Session {
	t.Helper()
	spy := func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		if method == "/etcdserverpb.KV/Txn" {
			x.called <- trace.SpanContextFromContext(ctx)
		}
		return invoke(ctx, method, req, reply, cc, opts...)
	}
	client := x.cluster.Client(t, etcdtest.WithDialOptions(grpc.WithChainUnaryInterceptor(spy)))
	s, err := lease.NewSession(guarded(t), client, lease.WithTTL(lease.MaxTTL), lease.WithObserver(x.tracer.Lease()), // renewals have requests, too
		lease.WithObserver(lease.Observer{
			Waiting:   func(e lease.Event) { x.waiting <- e },
			Acquiring: disguise, Releasing: disguise, // another observer's span is in the context, too
		}))
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), guard)
		defer cancel()
		require.NoError(t, s.Close(ctx))
	})
	return s
}

// disguiseKey is not that of a span.
type disguiseKey struct{}

func disguise(ctx context.Context, _ lease.Event) context.Context {
	return context.WithValue(ctx, disguiseKey{}, "")
}

func (x *stage) mutex(t *testing.T, s *lease.Session, opts ...lock.Option) *lock.Mutex {
	t.Helper()
	m, err := lock.NewMutex(s, x.name, opts...)
	require.NoError(t, err)
	return m
}

// caller returns a context with a span of the program's own.
func (x *stage) caller(t *testing.T) (context.Context, trace.Span) {
	t.Helper()
	return x.provider.Tracer("program").Start(guarded(t), "request")
}

// spans returns the spans of a name that have ended, the first to end first.
func (x *stage) spans(name string) (all []tracetest.SpanStub) {
	for _, s := range x.exporter.GetSpans() {
		if s.Name == name {
			all = append(all, s)
		}
	}
	return all
}

// spanOf returns the only span of a name.
func (x *stage) spanOf(t *testing.T, name string) tracetest.SpanStub {
	t.Helper()
	all := x.spans(name)
	require.Len(t, all, 1, name)
	return all[0]
}

func attributes(of []attribute.KeyValue) map[string]any {
	all := make(map[string]any)
	for _, a := range of {
		all[string(a.Key)] = a.Value.AsInterface()
	}
	return all
}

func events(s tracetest.SpanStub) (names []string) {
	for _, e := range s.Events {
		names = append(names, e.Name)
	}
	return names
}

func TestLockAndUnlockAreChildrenOfTheCallersSpan(t *testing.T) {
	t.Parallel()
	x := newStage(t)
	ctx, parent := x.caller(t)
	h, err := x.mutex(t, x.session).Lock(ctx)
	require.NoError(t, err)
	locked := x.spanOf(t, "conclave.Lock")
	require.Equal(t, parent.SpanContext().SpanID(), locked.Parent.SpanID())
	require.Equal(t, locked.SpanContext.SpanID(), (<-x.called).SpanID(), "its requests are its children")
	require.Equal(t, map[string]any{
		"conclave.lock.kind": "mutex", "conclave.lock.name": x.name, "conclave.lock.key": h.Key(),
		"conclave.lock.revision": h.Token().Revision(), "conclave.lock.sequence": int64(0), "conclave.lock.via": "free",
	}, attributes(locked.Attributes))
	require.Equal(t, codes.Unset, locked.Status.Code)
	require.Equal(t, parent.SpanContext(), trace.SpanContextFromContext(h.Context()), "work is the caller's")

	for len(x.called) > 0 {
		<-x.called
	}
	require.NoError(t, h.Unlock(ctx))
	unlocked := x.spanOf(t, "conclave.Unlock")
	require.Equal(t, parent.SpanContext().SpanID(), unlocked.Parent.SpanID())
	require.Equal(t, unlocked.SpanContext.SpanID(), (<-x.called).SpanID())
	require.Len(t, unlocked.Links, 1)
	require.Equal(t, locked.SpanContext.SpanID(), unlocked.Links[0].SpanContext.SpanID())
	require.Equal(t, "conclaveotel", unlocked.InstrumentationScope.Name[len(unlocked.InstrumentationScope.Name)-12:])
}

func TestAWaiterHasItsWaitAndALinkToTheHolderItFollowed(t *testing.T) {
	t.Parallel()
	x := newStage(t)
	m, other := x.mutex(t, x.session), x.mutex(t, x.newSession(t))
	ctx, _ := x.caller(t)
	first, err := m.Lock(ctx)
	require.NoError(t, err)
	leaving, leave := context.WithCancel(ctx)
	left := make(chan error, 1)
	go func() {
		_, err := m.Lock(leaving)
		left <- err
	}()
	between := <-x.waiting
	granted := make(chan *lock.Hold, 1)
	go func() {
		h, err := other.Lock(ctx)
		if err != nil {
			t.Error(err)
		}
		granted <- h
	}()
	e := <-x.waiting
	require.Equal(t, between.Key, e.Predecessor, "it does not wait for the holder at first")
	leave()
	require.ErrorIs(t, <-left, context.Canceled)
	require.NoError(t, first.Unlock(ctx))
	h := <-granted
	require.NoError(t, h.Unlock(ctx))

	all := x.spans("conclave.Lock")
	require.Len(t, all, 3)
	holder, gone, follower := all[0], all[1], all[2]
	require.Equal(t, []string{"conclave.waiting", "conclave.waited"}, events(follower))
	require.Equal(t, between.Key, attributes(follower.Events[0].Attributes)["conclave.lock.predecessor.key"])
	require.Equal(t, codes.Error, gone.Status.Code)
	require.Equal(t, "canceled", attributes(gone.Attributes)["error.type"])
	require.Equal(t, "canceled", attributes(gone.Events[1].Attributes)["error.type"])
	// Which of the two it followed at last depends on who left first.
	got := attributes(follower.Attributes)
	require.Equal(t, "queue", got["conclave.lock.via"])
	if got["conclave.lock.predecessor.key"] == first.Key() {
		require.Equal(t, first.Token().Revision(), got["conclave.lock.predecessor.revision"])
		require.Len(t, follower.Links, 1)
		require.Equal(t, holder.SpanContext.SpanID(), follower.Links[0].SpanContext.SpanID())
		require.Equal(t, "followed", attributes(follower.Links[0].Attributes)["conclave.link"])
	}
}

func TestAHandOverBetweenSessionsIsLinked(t *testing.T) {
	t.Parallel()
	x := newStage(t)
	ctx := guarded(t)
	h, err := x.mutex(t, x.session).Lock(ctx)
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() {
		done <- x.mutex(t, x.newSession(t)).Do(ctx, func(context.Context, *lock.Hold) error { return nil })
	}()
	<-x.waiting
	require.NoError(t, h.Unlock(ctx))
	require.NoError(t, <-done)
	all := x.spans("conclave.Lock")
	require.Len(t, all, 2)
	require.Len(t, all[1].Links, 1)
	require.Equal(t, all[0].SpanContext.SpanID(), all[1].Links[0].SpanContext.SpanID())
}

func TestLocalHandOffsAreLinkedOneToTheOther(t *testing.T) {
	t.Parallel()
	x := newStage(t)
	ctx := guarded(t)
	m := x.mutex(t, x.session, lock.WithLocalHandoff(5))
	h, err := m.Lock(ctx)
	require.NoError(t, err)
	var done []chan error
	for range 2 {
		d := make(chan error, 1)
		done = append(done, d)
		go func() { d <- m.Do(ctx, func(context.Context, *lock.Hold) error { return nil }) }()
		<-x.waiting
	}
	require.NoError(t, h.Unlock(ctx))
	for _, d := range done {
		require.NoError(t, <-d)
	}
	all := x.spans("conclave.Lock")
	require.Len(t, all, 3)
	for i, s := range all[1:] {
		require.Equal(t, "handoff", attributes(s.Attributes)["conclave.lock.via"])
		require.EqualValues(t, i+1, attributes(s.Attributes)["conclave.lock.sequence"])
		require.Len(t, s.Links, 1)
		require.Equal(t, all[i].SpanContext.SpanID(), s.Links[0].SpanContext.SpanID())
	}
	require.Len(t, x.spans("conclave.Unlock"), 3)
}

func TestATryThatFindsTheLockTakenIsNoError(t *testing.T) {
	t.Parallel()
	x := newStage(t)
	ctx := guarded(t)
	m := x.mutex(t, x.session)
	h, err := m.Lock(ctx)
	require.NoError(t, err)
	_, err = m.TryLock(ctx)
	require.ErrorIs(t, err, lock.ErrLocked)
	tried := x.spans("conclave.Lock")[1]
	require.Equal(t, codes.Unset, tried.Status.Code)
	require.Equal(t, "taken", attributes(tried.Attributes)["error.type"])
	require.NoError(t, h.Unlock(ctx))
}

func TestALossIsAnEventOfTheCallersSpan(t *testing.T) {
	t.Parallel()
	x := newStage(t)
	ctx, parent := x.caller(t)
	h, err := x.mutex(t, x.session).Lock(ctx)
	require.NoError(t, err)
	_, err = x.session.Client().Delete(ctx, h.Key())
	require.NoError(t, err)
	_, err = h.Txn(ctx).Commit() // which finds out
	require.ErrorIs(t, err, lock.ErrLost)
	parent.End()
	request := x.spanOf(t, "request")
	require.Equal(t, []string{"conclave.lost"}, events(request))
	require.Equal(t, "deleted", attributes(request.Events[0].Attributes)["error.type"])
	require.ErrorIs(t, h.Unlock(ctx), lock.ErrLost)
	require.Empty(t, x.spans("conclave.Unlock"), "there is nothing to unlock")
}

func TestCampaignsAndResignationsHaveSpans(t *testing.T) {
	t.Parallel()
	x := newStage(t)
	ctx, parent := x.caller(t)
	e, err := election.New(x.session, x.name)
	require.NoError(t, err)
	term, err := e.Campaign(ctx, "me")
	require.NoError(t, err)
	require.NoError(t, term.Resign(ctx))
	for _, name := range []string{"conclave.Campaign", "conclave.Resign"} {
		s := x.spanOf(t, name)
		require.Equal(t, parent.SpanContext().SpanID(), s.Parent.SpanID())
		require.Equal(t, "election", attributes(s.Attributes)["conclave.lock.kind"])
	}
	require.Empty(t, x.spans("conclave.Lock"))
}

func TestWhatIsRememberedIsBounded(t *testing.T) {
	t.Parallel()
	x := newStage(t)
	o := x.tracer.Lease()
	grant := func(revision, followed int64) {
		e := lease.Event{Kind: "mutex", Key: "k", Revision: revision, Predecessor: "k", Followed: followed}
		e.Context = o.Acquiring(t.Context(), e)
		o.Granted(e)
	}
	linked := func() bool {
		all := x.spans("conclave.Lock")
		return len(all[len(all)-1].Links) > 0
	}
	grant(1, 0) // held all the time
	for rev := int64(2); rev < 3000; rev++ {
		grant(rev, rev-1)
		if !linked() {
			require.Fail(t, "not linked to the one before", rev)
		}
		o.Released(lease.Event{Key: "k", Revision: rev, Context: t.Context()})
		x.exporter.Reset()
	}
	grant(3000, 1)
	require.True(t, linked(), "who holds is remembered")
	grant(3001, 2)
	require.False(t, linked(), "who has released long ago is not")
}

func TestWrongOptionsAreRefusedByName(t *testing.T) {
	t.Parallel()
	_, err := conclaveotel.New(nil, conclaveotel.WithTracerProvider(nil))
	require.ErrorContains(t, err, "conclaveotel: option is nil")
	require.ErrorContains(t, err, "tracer provider is nil")
	_, err = conclaveotel.New()
	require.NoError(t, err)
}
