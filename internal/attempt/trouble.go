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
	// growing distance.
	Log *slog.Logger

	mu   sync.Mutex
	last error // what the last attempt has failed with, nil after an answer
}

// Trouble returns why there is no answer, nil if there was one to the last call.
func (c *Caller) Trouble() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.unanswered(c.last)
}

// note keeps what an attempt has failed with, nil if it was answered.
func (c *Caller) note(err error) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = err
}

// firstSilence is the time between the first warning and the second; it doubles with each.
const firstSilence = 10 * time.Second

// trouble is what is known of why a call has no answer yet. It is protected by its
// call's mu.
type trouble struct {
	began  time.Time
	warned time.Time
	pause  time.Duration
}

// tell warns of a failure, unless it has done so a moment ago.
func (t *trouble) tell(l Limits, err error) {
	c := l.Caller
	c.note(err)
	if c == nil || (!t.warned.IsZero() && time.Since(t.warned) < t.pause) {
		return
	}
	t.pause = max(2*t.pause, firstSilence)
	t.warned = time.Now()
	c.Log.Warn(l.What+": no answer yet", "for", time.Since(t.began).Round(time.Millisecond),
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
// itself why there is none. It returns nil if there is one.
func (c *Caller) probe(ctx context.Context) error {
	_, err := pb.NewMaintenanceClient(c.Client.ActiveConnection()).Status(ctx, &pb.StatusRequest{})
	if Code(err) == codes.Unavailable {
		return err
	}
	return nil
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
