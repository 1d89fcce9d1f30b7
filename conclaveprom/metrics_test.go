package conclaveprom_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/conclaveprom"
	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

func TestLocksAreCountedFromTheCallToTheEndOfTheHold(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, client, ctx := c.Prefix(t)+"m", c.Client(t), guarded(t)
	waits := make(chan struct{}, 10)
	metrics := newMetrics(t)
	other := newMutex(t, newSession(t, client), name)
	mine := newMutex(t, newSession(t, client, lease.WithObserver(metrics.Lease()),
		lease.WithObserver(lease.Observer{Waiting: func(lease.Event) { waits <- struct{}{} }})), name)

	require.NoError(t, mine.Do(ctx, func(context.Context, *lock.Hold) error { return nil })) // free
	theirs, err := other.Lock(ctx)
	require.NoError(t, err)
	_, err = mine.TryLock(ctx)
	require.ErrorIs(t, err, lock.ErrLocked)
	leaving, leave := context.WithCancel(ctx)
	left := make(chan error, 1)
	go func() {
		_, err := mine.Lock(leaving)
		left <- err
	}()
	<-waits
	granted := make(chan *lock.Hold, 1)
	go func() {
		h, err := mine.Lock(ctx)
		if err != nil {
			t.Error(err)
		}
		granted <- h
	}()
	<-waits
	require.Equal(t, map[string]float64{"mutex all": 2}, values(t, metrics, "conclave_lock_waiters"))
	require.Equal(t, map[string]float64{"mutex all": 2}, values(t, metrics, "conclave_lock_calls"))
	require.Positive(t, values(t, metrics, "conclave_lock_call_age_seconds")["mutex all"])
	require.Equal(t, map[string]float64{"mutex all": 0}, values(t, metrics, "conclave_lock_holds"))
	leave()
	require.ErrorIs(t, <-left, context.Canceled)
	require.Equal(t, map[string]float64{"mutex all": 1}, values(t, metrics, "conclave_lock_waiters"))
	require.NoError(t, theirs.Unlock(ctx))
	h := <-granted
	require.Equal(t, map[string]float64{"mutex all": 0}, values(t, metrics, "conclave_lock_waiters"))
	require.Equal(t, map[string]float64{"mutex all": 1}, values(t, metrics, "conclave_lock_holds"))
	_, err = client.Delete(ctx, h.Key())
	require.NoError(t, err)
	_, err = h.Txn(ctx).Commit() // which finds out
	require.ErrorIs(t, err, lock.ErrLost)

	require.Equal(t, map[string]float64{"mutex all": 0}, values(t, metrics, "conclave_lock_calls"))
	require.Equal(t, map[string]float64{"mutex all": 0}, values(t, metrics, "conclave_lock_call_age_seconds"))
	require.Equal(t, map[string]float64{"mutex all": 0}, values(t, metrics, "conclave_lock_holds"))
	require.Equal(t, map[string]float64{"mutex all free": 1, "mutex all queue": 1}, values(t, metrics, "conclave_lock_grants_total"))
	require.Equal(t, map[string]float64{"mutex all taken": 1, "mutex all canceled": 1}, positive(t, metrics, "conclave_lock_failures_total"))
	require.Equal(t, map[string]float64{"mutex all deleted": 1}, positive(t, metrics, "conclave_lock_losses_total"))
	require.Equal(t, map[string]float64{"mutex all": 2}, values(t, metrics, "conclave_lock_wait_seconds"))
	require.Equal(t, map[string]float64{"mutex all": 2}, values(t, metrics, "conclave_lock_hold_seconds"))
}

// A counter that is born at one shows no increase: the first loss of a process would
// alert nobody.
func TestWhatAlertsCountIsThereAtZeroBeforeItHappens(t *testing.T) {
	t.Parallel()
	metrics := newMetrics(t)
	require.Equal(t, map[string]float64{"deadline": 0, "revoked": 0, "closed": 0}, values(t, metrics, "conclave_leases_lost_total"))
	require.Empty(t, values(t, metrics, "conclave_lock_losses_total"), "nobody has locked anything")

	metrics.Lease().Acquiring(t.Context(), lease.Event{Kind: "election"})
	for metric, want := range map[string][]string{
		"conclave_lock_holds":          {""},
		"conclave_lock_waiters":        {""},
		"conclave_lock_losses_total":   {" deadline", " revoked", " deleted", " closed"},
		"conclave_lock_failures_total": {" taken", " canceled", " timeout", " closed", " refused", " other"},
	} {
		zero := make(map[string]float64)
		for _, w := range want {
			zero["election all"+w] = 0
		}
		require.Equal(t, zero, values(t, metrics, metric), metric)
	}
}

func TestHistogramsAreClassicAndNative(t *testing.T) {
	t.Parallel()
	metrics := newMetrics(t)
	o := metrics.Lease()
	for _, took := range []time.Duration{100 * time.Microsecond, time.Millisecond, time.Minute, time.Hour} {
		o.Granted(lease.Event{Kind: "mutex", Took: took})
	}
	h := families(t, metrics)["conclave_lock_wait_seconds"].GetMetric()[0].GetHistogram()
	require.EqualValues(t, 4, h.GetSampleCount())
	buckets := h.GetBucket()
	require.Len(t, buckets, 18)
	require.EqualValues(t, 0.0001, buckets[0].GetUpperBound())
	require.EqualValues(t, 1, buckets[0].GetCumulativeCount())
	require.EqualValues(t, 60, buckets[17].GetUpperBound())
	require.EqualValues(t, 3, buckets[17].GetCumulativeCount())
	require.NotEmpty(t, h.GetPositiveSpan(), "it is native, too")
}

func TestMetricsObeyTheConventions(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	metrics := newMetrics(t)
	program(t, c, metrics)
	problems, err := testutil.CollectAndLint(metrics)
	require.NoError(t, err)
	require.Empty(t, problems)
	for name := range families(t, metrics) {
		require.True(t, strings.HasPrefix(name, "conclave_"), name)
	}
}

func TestNamesAreLabelsOnlyWhenMapped(t *testing.T) {
	t.Parallel()
	metrics := newMetrics(t,
		conclaveprom.WithNameLabel(func(kind, name string) string {
			job, _, _ := strings.Cut(name, "/")
			return kind + ":" + job
		}),
		conclaveprom.WithConstLabels(prometheus.Labels{"zone": "north"}),
		conclaveprom.WithBuckets(1, 2))
	o := metrics.Lease()
	o.Granted(lease.Event{Kind: "mutex", Name: "job/1"})
	o.Granted(lease.Event{Kind: "mutex", Name: "job/2"})
	require.Equal(t, map[string]float64{"mutex mutex:job north": 2}, values(t, metrics, "conclave_lock_holds"))
	require.Len(t, families(t, metrics)["conclave_lock_wait_seconds"].GetMetric()[0].GetHistogram().GetBucket(), 2)
}

func TestWrongOptionsAreRefusedByName(t *testing.T) {
	t.Parallel()
	for want, o := range map[string]conclaveprom.Option{
		"option is nil":                nil,
		"name label is nil":            conclaveprom.WithNameLabel(nil),
		"watch label is nil":           conclaveprom.WithWatchLabel(nil),
		"buckets [2 1]: must be":       conclaveprom.WithBuckets(2, 1),
		"buckets [0 1]: must be":       conclaveprom.WithBuckets(0, 1),
		"no buckets: must be at least": conclaveprom.WithBuckets(),
	} {
		_, err := conclaveprom.New(o)
		require.ErrorContains(t, err, "conclaveprom: "+want)
	}
}

// A label that a program gives is part of the description, so that two can be registered.
func TestTwoMetricsCanBeRegisteredWithDifferentLabels(t *testing.T) {
	t.Parallel()
	a := newMetrics(t, conclaveprom.WithConstLabels(prometheus.Labels{"cluster": "a"}))
	b := newMetrics(t, conclaveprom.WithConstLabels(prometheus.Labels{"cluster": "b"}))
	require.NotEmpty(t, families(t, a, b))
	registry := prometheus.NewRegistry()
	require.NoError(t, registry.Register(a))
	var twice prometheus.AlreadyRegisteredError
	require.True(t, errors.As(registry.Register(a), &twice))
}
