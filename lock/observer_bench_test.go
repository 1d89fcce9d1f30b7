package lock_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

// BenchmarkObserver locks and unlocks a free mutex without an observer, with one that
// has no callback, and with one whose callbacks do nothing, in turns, so that what the
// machine does besides hits all alike. Figures are medians, "ratio" is to the first.
func BenchmarkObserver(b *testing.B) {
	noop := func(lease.Event) {}
	begin := func(ctx context.Context, _ lease.Event) context.Context { return ctx }
	c := etcdtest.New(b)
	client := c.Client(b)
	names := []string{"none", "empty", "idle"}
	options := [][]lease.Option{
		nil,
		{lease.WithObserver(lease.Observer{})},
		{lease.WithObserver(lease.Observer{
			Acquiring: begin, Waiting: noop, Waited: noop, Granted: noop, Failed: noop, Released: noop, Releasing: begin, Removed: noop,
			Renewed: func(*lease.Lease, time.Duration) {}, Changed: func(*lease.Lease, lease.State) {}, Lost: func(*lease.Lease, error) {},
		})},
	}
	mutexes := make([]*lock.Mutex, len(options))
	for i, opts := range options {
		s, err := lease.NewSession(b.Context(), client, append(opts, lease.WithTTL(time.Minute))...)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = s.Close(context.Background()) })
		if mutexes[i], err = lock.NewMutex(s, c.Prefix(b)+names[i]); err != nil {
			b.Fatal(err)
		}
	}
	took := make([][]time.Duration, len(options))
	b.ReportAllocs()
	for b.Loop() {
		for i, m := range mutexes {
			start := time.Now()
			h, err := m.Lock(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			if err := h.Unlock(b.Context()); err != nil {
				b.Fatal(err)
			}
			took[i] = append(took[i], time.Since(start))
		}
	}
	for i, name := range names {
		slices.Sort(took[i])
		b.ReportMetric(float64(took[i][b.N/2].Microseconds()), name+"-µs")
		b.ReportMetric(float64(took[i][b.N/2])/float64(took[0][b.N/2]), name+"-ratio")
	}
}

// BenchmarkObserverInMemory does the same where nothing else takes time: a lock that
// lingers is taken again without a request.
func BenchmarkObserverInMemory(b *testing.B) {
	noop := func(lease.Event) {}
	for name, o := range map[string]lease.Observer{
		"none": {}, "idle": {Waiting: noop, Waited: noop, Granted: noop, Failed: noop, Released: noop},
	} {
		b.Run(name, func(b *testing.B) {
			c := etcdtest.New(b)
			s, err := lease.NewSession(b.Context(), c.Client(b), lease.WithTTL(time.Minute), lease.WithObserver(o))
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { _ = s.Close(context.Background()) })
			m, err := lock.NewMutex(s, c.Prefix(b)+"m", lock.WithLinger(time.Minute))
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				h, err := m.Lock(b.Context())
				if err != nil {
					b.Fatal(err)
				}
				if err := h.Unlock(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
