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
	every, err := newJob("every", "*/5 * * * * *", 1)
	require.NoError(t, err)
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
	all, err := jobs()
	require.NoError(t, err)
	for _, j := range all {
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
	_, err := newJob("report", "99 * * * * *", 1)
	require.ErrorContains(t, err, `report: schedule "99 * * * * *": `)
}

// newRunner returns a runner on an etcd of the test's own, and the lock of a job.
func newRunner(t *testing.T) (*runner, *lock.Hold, *conclavetest.Cluster) {
	t.Helper()
	c := conclavetest.NewCluster(t)
	client := c.Client(t)
	session, err := lease.NewSession(t.Context(), client, lease.WithTTL(10*time.Second))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, session.Close(context.Background())) })
	mutex, err := lock.NewMutex(session, "test/lock/report")
	require.NoError(t, err)
	h, err := mutex.Lock(t.Context())
	require.NoError(t, err)
	return &runner{job: assignment{Worker: "w1", Prefix: "test/"}, client: client, session: session}, h, c
}

func TestWhatWasMissedIsRunOnceAndWhatWasBegunIsResumed(t *testing.T) {
	t.Parallel()
	r, h, _ := newRunner(t)
	j, err := newJob("report", "0 * * * * *", 4)
	require.NoError(t, err)
	begun := record{Job: "report", Slot: time.Now().UTC().Add(-time.Hour).Truncate(time.Minute), Pages: []page{{"w9", 1}, {"w9", 1}}}
	require.NoError(t, r.store(t.Context(), h, begun))
	_, err = r.turn(t.Context(), h, j)
	require.NoError(t, err)
	rec, err := r.load(t.Context(), j)
	require.NoError(t, err)
	mine := page{"w1", h.Token()}
	require.Equal(t, record{Job: "report", Slot: begun.Slot, Pages: []page{{"w9", 1}, {"w9", 1}, mine, mine}, Done: true}, rec)
	_, err = r.turn(t.Context(), h, j)
	require.NoError(t, err)
	rec, err = r.load(t.Context(), j)
	require.NoError(t, err)
	require.InDelta(t, 59, rec.Missed, 1)
	require.WithinRange(t, rec.Slot, begun.Slot.Add(time.Hour), begun.Slot.Add(time.Hour+2*time.Minute))
	require.Equal(t, []page{mine, mine, mine, mine}, rec.Pages)
}

func TestNeitherKeyIsWrittenTwiceOrWithoutTheLock(t *testing.T) {
	t.Parallel()
	r, h, _ := newRunner(t)
	rec := record{Job: "report", Slot: time.Now().UTC(), Pages: []page{{"w1", h.Token()}}, Done: true}
	require.NoError(t, r.store(t.Context(), h, rec))
	again := rec
	again.Missed = 7
	require.ErrorIs(t, r.store(t.Context(), h, again), errTwice)
	require.NoError(t, h.Unlock(t.Context()))
	again.Slot = again.Slot.Add(time.Second)
	require.ErrorIs(t, r.store(t.Context(), h, again), lock.ErrReleased)
	left, err := r.load(t.Context(), job{name: "report"})
	require.NoError(t, err)
	require.Equal(t, rec, left)
}

func TestNoPageIsStoredOnceTheLeaseHasExpired(t *testing.T) {
	t.Parallel()
	r, h, c := newRunner(t)
	rec := record{Job: "report", Slot: time.Now().UTC(), Pages: []page{{"w1", h.Token()}}}
	require.NoError(t, r.store(t.Context(), h, rec))
	c.ExpireLease(t, h.Key())
	late := rec
	late.Pages = append(late.Pages, page{"w1", h.Token()})
	require.ErrorIs(t, r.store(t.Context(), h, late), lock.ErrLost, "whether or not the holder knows")
	left, err := r.load(t.Context(), job{name: "report"})
	require.NoError(t, err)
	require.Equal(t, rec, left)
}

func TestTheLedgerSeesWhatShouldNotHappen(t *testing.T) {
	t.Parallel()
	slot := at(t, "12:00:00")
	written := func(token lock.Token) event {
		return event{Kind: stored, Record: record{Job: "report", Pages: []page{{"w1", token}}}}
	}
	l := newLedger()
	require.NoError(t, l.check(written(2<<20)))
	require.NoError(t, l.check(written(2<<20)), "the same holder")
	require.ErrorContains(t, l.check(written(1<<20)), "token 1 was stored after token 2")
	done := event{Kind: result, Record: record{Job: "report", Slot: slot, Pages: []page{{"w1", 1}, {"w2", 2}}}}
	require.NoError(t, l.check(done))
	require.ErrorContains(t, l.check(done), "came after")
	require.Contains(t, l.String(), "1 reports and 0 mails, 1 of them resumed")
}
