package attempt

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Caller is who waits for the answer to a call, and is told when there is none.
type Caller struct {
	Client *clientv3.Client
	// Log gets a warning when an attempt has failed or is overdue, and others with
	// growing distance; one for all calls that wait for the same. Nil is none.
	Log *slog.Logger

	mu      sync.Mutex
	last    error // what the last attempt has failed with, nil after an answer
	silence map[string]*silence
	asked   *question // the last that was asked to find out why there is no answer
}

// silence is what was said of calls without an answer that wait for the same.
type silence struct {
	warned time.Time
	pause  time.Duration // until the next warning
}

// question is a request that finds out why there is no answer.
type question struct {
	at   time.Time
	done chan struct{} // closed when err is known
	err  error
}

// Trouble returns why there is no answer, nil if there was one to the last call.
func (c *Caller) Trouble() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.unanswered(c.last)
}

// note keeps what an attempt has failed with.
func (c *Caller) note(err error) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = err
}

// answered notes that a call which waits for what has an answer.
func (c *Caller) answered(what string) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = nil
	if s := c.silence[what]; s != nil {
		s.pause = firstSilence
	}
}

// due reports whether it is time for another warning of calls that wait for what.
func (c *Caller) due(what string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.silence[what]
	switch {
	case s == nil:
		s = &silence{pause: firstSilence}
	case time.Since(s.warned) < s.pause:
		return false
	default:
		s.pause *= 2
	}
	s.warned = time.Now()
	if c.silence == nil {
		c.silence = make(map[string]*silence)
	}
	c.silence[what] = s
	return true
}

const (
	// firstSilence is the time between the first warning and the second; it doubles with
	// each.
	firstSilence = 10 * time.Second
	// questionPause is how long the answer to a question counts for others who would ask.
	questionPause = time.Second
)

// tell warns that a call which began at some time has no answer because of err, unless it
// has been said a moment ago.
func (l Limits) tell(began time.Time, err error) {
	c := l.Caller
	c.note(err)
	if c == nil || c.Log == nil || !c.due(l.What) {
		return
	}
	c.Log.Warn(l.What+": no answer yet", "for", time.Since(began).Round(time.Millisecond),
		"endpoints", strings.Join(c.Client.Endpoints(), " "), "error", brief(err))
}

// unanswered says where an answer was expected and why none came, as far as is known.
func (c *Caller) unanswered(last error) error {
	if c == nil || last == nil {
		return last
	}
	return fmt.Errorf("no answer from etcd at %s: %w", strings.Join(c.Client.Endpoints(), ", "), brief(last))
}

// probe finds out why there is no answer: clientv3 waits for a connection and keeps to
// itself why there is none. It returns nil if there is one. Many who ask at once share
// one request.
func (c *Caller) probe(ctx context.Context) error {
	q, mine := c.question()
	if mine {
		Redial(c.Client)
		_, err := pb.NewMaintenanceClient(c.Client.ActiveConnection()).Status(ctx, &pb.StatusRequest{})
		if Code(err) == codes.Unavailable {
			q.err = err
		}
		close(q.done)
	}
	select {
	case <-q.done:
		return q.err
	case <-ctx.Done():
		return nil
	}
}

// question returns the one that is asked now, or was a moment ago; mine is set if the
// caller shall ask it.
func (c *Caller) question() (q *question, mine bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.asked == nil || time.Since(c.asked.at) >= questionPause {
		c.asked = &question{at: time.Now(), done: make(chan struct{})}
		return c.asked, true
	}
	return c.asked, false
}

// What gRPC puts before the cause.
const (
	connectionError = "connection error: desc = "
	dialing         = "transport: Error while dialing: "
)

// brief returns err without what gRPC adds to the reason why there is no connection.
func brief(err error) error {
	s, ok := status.FromError(err)
	if !ok || s.Code() != codes.Unavailable {
		return err
	}
	text := s.Message()
	if i := strings.Index(text, connectionError); i >= 0 {
		text = strings.Trim(text[i+len(connectionError):], `"`)
	}
	return briefError{strings.TrimPrefix(text, dialing), err}
}

// briefError is an error in fewer words.
type briefError struct {
	text string
	err  error
}

func (e briefError) Error() string { return e.text }

func (e briefError) Unwrap() error { return e.err }

// malformed reports whether a connection failed because of an endpoint that none can be
// made to, ever.
func malformed(err error) bool {
	if Code(err) != codes.Unavailable {
		return false
	}
	for _, s := range []string{"missing port in address", "too many colons in address", "unknown port", "invalid port"} {
		if strings.Contains(err.Error(), s) {
			return true
		}
	}
	return false
}
