package main

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/conclavetest"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

func at(t *testing.T, clock string) time.Time {
	t.Helper()
	moment, err := time.Parse(time.RFC3339, "2026-03-14T"+clock+"Z")
	require.NoError(t, err)
	return moment
}

func TestDueIsTheLatestTimeWithTheNumberOfThoseBefore(t *testing.T) {
	t.Parallel()
	every := newJob("every", "*/5 * * * * *", 1)
	for name, c := range map[string]struct {
		last, now, slot string
		missed          int
	}{
		"the moment itself":     {"12:00:00", "12:00:05", "12:00:05", 0},
		"later in that second":  {"12:00:00", "12:00:05.999999999", "12:00:05", 0},
		"a second later":        {"12:00:00", "12:00:06", "12:00:05", 0},
		"not a moment too soon": {"12:00:05", "12:00:09.999999999", "", 0},
		"one was missed":        {"12:00:00", "12:00:10", "12:00:10", 1},
		"no run is missed":      {"12:00:02", "12:00:07", "12:00:05", 0},
		"many were missed":      {"00:00:00", "12:00:00", "12:00:00", mostMissed},
		"a clock that is back":  {"12:00:05", "12:00:04", "", 0},
	} {
		slot, missed := every.due(at(t, c.last), at(t, c.now))
		if c.slot == "" {
			require.Zero(t, slot, name)
		} else {
			require.Equal(t, at(t, c.slot), slot, name)
		}
		require.Equal(t, c.missed, missed, name)
	}
}

func TestNextIsAheadWheneverNothingIsDue(t *testing.T) {
	t.Parallel()
	for _, j := range jobs() {
		last := at(t, "12:00:00")
		for now := last; now.Before(at(t, "12:00:06")); now = now.Add(77777 * time.Microsecond) {
			if slot, _ := j.due(last, now); slot.IsZero() {
				require.True(t, j.schedule.Next(last).After(now), "%s at %s", j.name, now)
			} else {
				last = slot
			}
		}
	}
}

func TestBadScheduleIsNamed(t *testing.T) {
	t.Parallel()
	defer func() {
		err, _ := recover().(error)
		require.ErrorContains(t, err, `report: schedule "99 * * * * *": `)
	}()
	newJob("report", "99 * * * * *", 1)
}

// newWorker returns a worker at the report on an etcd of the test's own, and the lock.
func newWorker(t *testing.T, schedule string) (*worker, *lock.Hold, *conclavetest.Cluster) {
	t.Helper()
	c := conclavetest.NewCluster(t)
	session, err := lease.NewSession(t.Context(), c.Client(t), lease.WithTTL(10*time.Second))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, session.Close(context.Background())) })
	mutex, err := lock.NewMutex(session, lockName+"report")
	require.NoError(t, err)
	h, err := mutex.Lock(t.Context())
	require.NoError(t, err)
	return &worker{name: "w1", client: session.Client(), job: newJob("report", schedule, 4)}, h, c
}

// latest returns what etcd has of the report's latest run.
func latest(t *testing.T, w *worker) record {
	t.Helper()
	resp, err := w.client.Get(t.Context(), stateKey+"report")
	require.NoError(t, err)
	require.Len(t, resp.Kvs, 1)
	_, rec, err := parse(resp.Kvs[0])
	require.NoError(t, err)
	return rec
}

func TestWhatWasMissedIsRunOnceAndWhatWasBegunIsResumed(t *testing.T) {
	t.Parallel()
	w, h, _ := newWorker(t, "0 * * * * *")
	begun := record{Slot: time.Now().UTC().Add(-time.Hour).Truncate(time.Minute), Pages: []page{{"w9", 1}, {"w9", 1}}}
	require.NoError(t, w.store(t.Context(), h, begun))
	err := w.turn(t.Context(), h, new(time.Time))
	require.NoError(t, err)
	mine := page{"w1", h.Token()}
	require.Equal(t, record{Slot: begun.Slot, Pages: []page{{"w9", 1}, {"w9", 1}, mine, mine}, Done: true}, latest(t, w))
	err = w.turn(t.Context(), h, new(time.Time))
	require.NoError(t, err)
	rec := latest(t, w)
	require.InDelta(t, 59, rec.Missed, 1)
	require.WithinRange(t, rec.Slot, begun.Slot.Add(time.Hour), begun.Slot.Add(time.Hour+2*time.Minute))
	require.Equal(t, []page{mine, mine, mine, mine}, rec.Pages)
}

func TestNeitherKeyIsWrittenWithoutTheLock(t *testing.T) {
	t.Parallel()
	w, h, _ := newWorker(t, "@daily")
	rec := record{Slot: time.Now().UTC(), Pages: []page{{"w1", h.Token()}}, Done: true}
	require.NoError(t, w.store(t.Context(), h, rec))
	again := rec
	again.Missed = 7
	require.NoError(t, h.Unlock(t.Context()))
	again.Slot = again.Slot.Add(time.Second)
	require.ErrorIs(t, w.store(t.Context(), h, again), lock.ErrReleased)
	require.Equal(t, rec, latest(t, w))
}

func TestNoPageIsStoredOnceTheLeaseHasExpired(t *testing.T) {
	t.Parallel()
	w, h, c := newWorker(t, "@daily")
	rec := record{Slot: time.Now().UTC(), Pages: []page{{"w1", h.Token()}}}
	require.NoError(t, w.store(t.Context(), h, rec))
	c.ExpireLease(t, h.Key())
	late := rec
	late.Pages = append(late.Pages, page{"w1", h.Token()})
	require.ErrorIs(t, w.store(t.Context(), h, late), lock.ErrLost, "whether or not the holder knows")
	require.Equal(t, rec, latest(t, w))
}
