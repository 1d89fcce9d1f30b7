package watch

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/metadata"

	"github.com/conclave-go/conclave/internal/attempt"
)

const (
	// MaxGRPCStreams is how many watches of one client have their own gRPC stream. Behind
	// some proxies a connection may have no more than a hundred streams, all calls
	// included.
	MaxGRPCStreams = 32
	// maxQuestions is how many streams more may be open for questions of those that have
	// none.
	maxQuestions = 4
	// maxReads is how many reads of a client's streams and caches are out at once. When many
	// load together, or come back, more would only take turns in the server, and hold up
	// everybody else's there.
	maxReads = 32
	// maxAlone is how many watches may at once be alone for a moment, on gRPC streams beside
	// those, see errOthers.
	maxAlone = 32
	// maxRefused is how many shared gRPC streams of a client may go on beside the last
	// although the server refuses new watches there.
	maxRefused = 4
	// closeAfter is when a line is closed that nobody uses any more. Usually it has ended
	// by itself by then, with its last watch. Closing it while clientv3 3.7.3 takes note of
	// a watch that the server has refused in this very moment would leave it hanging for
	// ever, three goroutines each time.
	closeAfter = 100 * time.Millisecond
)

// line is a gRPC stream: one watch's own, or shared.
type line struct {
	watcher
	streams *streams
	own     bool // counted as such
	shared  bool
	caller  string // of a shared one: what its users' contexts say, see callerOf
	users   int    // guarded by streams.mu

	last    atomic.Pointer[sign]
	refused atomic.Pointer[sign] // of a shared one: the last refusal of a watch, without a header
}

// sign is a sign of life.
type sign struct {
	at     time.Time
	header *pb.ResponseHeader // nil of a refusal, which does not tell it
}

// hear notes a sign of life.
func (l *line) hear(header *pb.ResponseHeader) {
	l.last.Store(&sign{time.Now(), header})
	l.streams.latest.note(header)
}

// heard returns what came last on a shared line, nil if nothing has come for that long.
func (l *line) heard(within time.Duration) *pb.ResponseHeader {
	if s := l.last.Load(); l.shared && s != nil && time.Since(s.at) < within {
		return s.header
	}
	return nil
}

// refuse notes that the server has refused a watch, which is a sign of life: the watches that
// there are go on.
func (l *line) refuse() { l.refused.Store(&sign{at: time.Now()}) }

// attribute says of what a watch has ended with whether it may be another's on the same line:
// a message that is too large ends the whole gRPC stream.
func (l *line) attribute(err error) error {
	if l.shared && attempt.TooLarge(err) {
		return fmt.Errorf("%w: %w", errOthers, err)
	}
	return err
}

// lives returns the last sign of life, the latest that tells something if there are
// several, nil if nothing has come for that long.
func (l *line) lives(within time.Duration) *sign {
	for _, s := range []*sign{l.last.Load(), l.refused.Load()} {
		if s != nil && time.Since(s.at) < within {
			return s
		}
	}
	return nil
}

// leave closes the line after its last user.
func (l *line) leave() {
	s := l.streams
	s.mu.Lock()
	l.users--
	last := l.users == 0
	if last {
		s.lines--
		if l.shared {
			s.shared--
		}
		s.forget(l)
	}
	if l.own {
		s.own--
	}
	s.mu.Unlock()
	if last {
		time.AfterFunc(closeAfter, l.close)
	}
}

// streams are the gRPC streams for the watches of one client.
type streams struct {
	client    *clientv3.Client
	questions chan struct{} // has a token for each question that is being asked
	routine   chan struct{} // and for each that nobody waits for, also until it is asked
	reads     chan struct{} // has a token for each read that is out
	alone     chan struct{} // and for each watch that is alone for a moment
	latest    latest
	caller    attempt.Caller

	mu    sync.Mutex
	users int // followers
	lines int // that are open
	own   int
	// shared is how many of them are shared, of which those in common are for new watches.
	shared int
	// common are the lines for watches that get none of their own, by what callers' contexts
	// say: clientv3 gives watches with other metadata another gRPC stream, whose signs of life
	// say nothing about this one.
	common map[string]*line
}

//nolint:gochecknoglobals // what a client has is counted over all its streams and caches
var clients struct {
	sync.Mutex
	streams map[*clientv3.Client]*streams
}

// streamsOf returns the streams of a client, to be released.
func streamsOf(client *clientv3.Client) *streams {
	clients.Lock()
	defer clients.Unlock()
	s := clients.streams[client]
	if s == nil {
		s = &streams{
			client: client, questions: make(chan struct{}, maxQuestions), routine: make(chan struct{}, maxQuestions/2),
			reads: make(chan struct{}, maxReads), alone: make(chan struct{}, maxAlone), caller: attempt.Caller{Client: client},
		}
		if clients.streams == nil {
			clients.streams = make(map[*clientv3.Client]*streams)
		}
		clients.streams[client] = s
	}
	s.users++
	return s
}

func (s *streams) release() {
	clients.Lock()
	defer clients.Unlock()
	if s.users--; s.users == 0 {
		delete(clients.streams, s.client)
	}
}

// callerOf returns what a caller's context says to the server.
func callerOf(ctx context.Context) string {
	md, _ := metadata.FromOutgoingContext(ctx)
	return fmt.Sprint(md) // in the order of its keys
}

// take returns a line for a watch, one of its own if there are fewer than most.
func (s *streams) take(ctx context.Context, most int) *line {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.own < most {
		s.own++
		l := s.newLine()
		l.own = true
		return l
	}
	caller := callerOf(ctx)
	l := s.common[caller]
	if l == nil {
		l = s.newLine()
		l.shared, l.caller, l.users = true, caller, 0
		s.shared++
		if s.common == nil {
			s.common = make(map[string]*line)
		}
		s.common[caller] = l
	}
	l.users++
	return l
}

// forget lets the next watch that gets no line of its own have another than this one. mu must
// be held.
func (s *streams) forget(l *line) {
	if s.common[l.caller] == l {
		delete(s.common, l.caller)
	}
}

// newLine returns a line with one user. mu must be held.
func (s *streams) newLine() *line {
	s.lines++
	return &line{watcher: newWatcher(s.client), streams: s, users: 1}
}

// count returns how many lines are open.
func (s *streams) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lines
}

// replace lets the next watch that gets no line of its own have another than this one.
func (s *streams) replace(l *line) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(l)
}

// aside reports whether a line is to be left, since watches go on with too many that new ones
// do not get.
func (s *streams) aside(l *line) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.common[l.caller] != l && s.shared-len(s.common) > maxRefused
}

// awaitTurn waits until it is the turn of a question.
func (s *streams) awaitTurn(ctx context.Context) (done func(), ok bool) {
	return func() { <-s.questions }, take(ctx, s.questions)
}

// awaitRoutine is awaitTurn for a question that nobody waits for. These take no more than half
// of the turns, so thousands of them hold up nobody else.
func (s *streams) awaitRoutine(ctx context.Context) (done func(), ok bool) {
	if !take(ctx, s.routine) {
		return nil, false
	}
	over, ok := s.awaitTurn(ctx)
	if !ok {
		<-s.routine
		return nil, false
	}
	return func() {
		over()
		<-s.routine
	}, true
}

// take puts a token into ch, for which it waits, and reports whether it has.
func take(ctx context.Context, ch chan<- struct{}) bool {
	select {
	case ch <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// takeAside returns a line of its own for a moment, which does not count as one.
func (s *streams) takeAside() *line {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.newLine()
}

// read reads when it is the turn of that, and asks again, another member, beside a request
// that has not been answered for as long as patience.
func (s *streams) read(ctx context.Context, patience time.Duration, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	if !take(ctx, s.reads) {
		return nil, ended(ctx)
	}
	defer func() { <-s.reads }()
	return s.readAtOnce(ctx, patience, key, opts...)
}

// readAtOnce is read without taking turns.
func (s *streams) readAtOnce(ctx context.Context, patience time.Duration, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	return attempt.Hedge(ctx, attempt.Limits{Patience: patience, Caller: &s.caller}, func(ctx context.Context) (*clientv3.GetResponse, error) {
		return s.client.Get(ctx, key, opts...)
	})
}
