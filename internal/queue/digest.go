package queue

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/conclave-go/conclave/internal/inside"
)

// What happens to many entries at once, as when a lease with hundreds of waiters is lost,
// is logged for the first of them, and for the others as a number.

// digestKey finds a message's digest among what a session's users share.
type digestKey struct{ message string }

// digest is what has happened to many.
type digest struct {
	mu     sync.Mutex
	since  time.Time // when the last was logged
	others int       // who were not logged since
}

// digestPause is for how long others are only counted.
const digestPause = time.Second

// tell logs what has happened to the entry, unless the same has just happened to another.
func (e *entry) tell(level slog.Level, message string, args ...any) {
	shared := inside.Of(e.q.Session).Shared()
	found, ok := shared.Load(digestKey{message})
	if !ok {
		found, _ = shared.LoadOrStore(digestKey{message}, &digest{})
	}
	d, _ := found.(*digest)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.others == 0 && time.Since(d.since) >= digestPause {
		d.since = time.Now()
		e.log().Log(context.WithoutCancel(e.lease.Context()), level, message, args...)
		return
	}
	if d.others++; d.others == 1 {
		log := e.q.Session.Logger().With("kind", e.q.Kind)
		ctx := context.WithoutCancel(e.lease.Context())
		time.AfterFunc(digestPause, func() { d.flush(ctx, log, level, message) })
	}
}

// flush logs how many others there were.
func (d *digest) flush(ctx context.Context, log *slog.Logger, level slog.Level, message string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	log.Log(ctx, level, message, "others", d.others)
	d.since, d.others = time.Now(), 0
}
