package conclaveprom_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/conclave-go/conclave/conclaveprom"
	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

// BenchmarkObserver locks and unlocks a free mutex with and without metrics, in turns.
// "ratio" is between the medians.
func BenchmarkObserver(b *testing.B) {
	c := etcdtest.New(b)
	metrics, err := conclaveprom.New()
	if err != nil {
		b.Fatal(err)
	}
	client := c.Client(b)
	without := newMutex(b, newSession(b, client, lease.WithTTL(time.Minute)), c.Prefix(b)+"a")
	with := newMutex(b, newSession(b, client, lease.WithTTL(time.Minute), lease.WithObserver(metrics.Lease())), c.Prefix(b)+"b")
	var took [2][]time.Duration
	for b.Loop() {
		for i, m := range []*lock.Mutex{without, with} {
			start := time.Now()
			if err := m.Do(b.Context(), func(context.Context, *lock.Hold) error { return nil }); err != nil {
				b.Fatal(err)
			}
			took[i] = append(took[i], time.Since(start))
		}
	}
	b.ReportMetric(float64(median(took[1]))/float64(median(took[0])), "ratio")
}

func median(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}

// BenchmarkEvents is what the callbacks of a Lock and an Unlock cost.
func BenchmarkEvents(b *testing.B) {
	metrics, err := conclaveprom.New()
	if err != nil {
		b.Fatal(err)
	}
	o := metrics.Lease()
	e := lease.Event{Kind: "mutex", Name: "job", Took: time.Millisecond}
	b.ReportAllocs()
	for b.Loop() {
		o.Granted(e)
		o.Released(e)
	}
}
