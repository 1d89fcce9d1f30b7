package history_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/chaos/history"
)

// ttl is that of the locks in these histories, whose times are milliseconds.
const ttl = time.Second

const ms = int64(time.Millisecond)

// script writes a history by hand.
type script struct{ events []history.Event }

func (s *script) add(e history.Event) *script {
	e.At, e.Call, e.Until = e.At*ms, e.Call*ms, e.Until*ms
	s.events = append(s.events, e)
	return s
}

// token is what a hold of this create revision has.
func token(revision int64) int64 { return revision << 20 }

// grant lets a worker have the lock from a time to its deadline, with an entry of the
// revision, the entry's key being named after it.
func (s *script) grant(worker string, revision, at, until int64) *script {
	s.wait(worker, revision, at-1)
	return s.add(history.Event{
		At: at, Call: at - 2, Kind: history.Granted, Worker: worker, Hold: worker, Key: worker, Token: token(revision), Until: until,
	})
}

// wait puts an entry, unless it is there.
func (s *script) wait(worker string, revision, at int64) *script {
	for _, e := range s.events {
		if e.Kind == history.Entry && e.Revision == revision {
			return s
		}
	}
	return s.add(history.Event{At: at, Kind: history.Entry, Key: worker, Revision: revision})
}

// release gives the lock up.
func (s *script) release(worker string, revision, at int64) *script {
	s.add(history.Event{At: at, Kind: history.Releasing, Worker: worker, Hold: worker})
	s.add(history.Event{At: at + 1, Kind: history.Gone, Key: worker, Revision: revision})
	return s.add(history.Event{At: at + 2, Kind: history.Released, Worker: worker, Hold: worker, OK: true})
}

// gone lets an entry go away by itself.
func (s *script) gone(worker string, revision, at int64) *script {
	return s.add(history.Event{At: at, Kind: history.Gone, Key: worker, Revision: revision})
}

// txn is a guarded transaction that was committed.
func (s *script) txn(worker string, created, revision, at, value, found int64) *script {
	s.add(history.Event{At: at, Kind: history.Stored, Hold: worker, Token: token(created), Revision: revision, Value: value, Found: found})
	return s.add(history.Event{
		At: at, Call: at - 1, Kind: history.Wrote, Way: history.Txn, Worker: worker, Hold: worker, Token: token(created), Value: value, Found: found, OK: true,
	})
}

// write is one that the resource judged.
func (s *script) write(way history.Way, worker string, revision, at, value, found, was int64, ok bool) *script {
	s.add(history.Event{At: at, Kind: history.Judged, Way: way, Hold: worker, Token: token(revision), Value: value, Found: found, Was: was, OK: ok})
	return s.add(history.Event{
		At: at + 1, Call: at - 1, Kind: history.Wrote, Way: way, Worker: worker, Hold: worker, Token: token(revision), Value: value, Found: found, OK: ok,
	})
}

func (s *script) check() history.Result {
	return history.Check(s.events, history.Rules{TTL: ttl, Tokens: true})
}

// properties are those that were broken.
func properties(r history.Result) map[history.Property]bool {
	all := make(map[history.Property]bool)
	for _, f := range r.Findings {
		all[f.Property] = true
	}
	return all
}

func TestCheckFindsWhatWasPlanted(t *testing.T) {
	t.Parallel()
	type broken = map[history.Property]bool
	one := func(ps ...history.Property) broken {
		b := broken{}
		for _, p := range ps {
			b[p] = true
		}
		return b
	}
	for what, c := range map[string]struct {
		history *script
		want    broken
	}{
		"one after the other": {new(script).grant("a", 10, 10, 900).release("a", 11, 20).grant("b", 12, 30, 900).release("b", 13, 40), one()},
		"granted when the first had expired": {
			new(script).grant("a", 10, 10, 900).gone("a", 11, 1000).grant("b", 12, 1001, 1900), one(),
		},
		"granted before the deadline": {
			new(script).grant("a", 10, 10, 900).gone("a", 11, 500).grant("b", 12, 501, 1900), one(history.S3, history.Order),
		},
		"granted before the deadline, after an operator": {
			new(script).grant("a", 10, 10, 900).
				add(history.Event{At: 499, Kind: history.Begun, Hold: "a", Detail: history.Overrules}).
				gone("a", 11, 500).grant("b", 12, 501, 1900), one(),
		},
		"valid after its deadline": {
			new(script).grant("a", 10, 10, 900).add(history.Event{At: 950, Kind: history.Valid, Hold: "a"}), one(history.InTime),
		},
		"a loss brings the deadline forward": {
			new(script).grant("a", 10, 10, 900).
				add(history.Event{At: 400, Kind: history.Told, Hold: "a", Until: 400}).
				gone("a", 11, 300).grant("b", 12, 501, 1900), one(),
		},
		"tokens go down": {
			new(script).grant("a", 20, 10, 900).release("a", 21, 20).grant("b", 15, 30, 900).release("b", 23, 40), one(history.S1, history.S2, history.Order),
		},
		"one token twice": {
			new(script).grant("a", 10, 10, 900).release("a", 11, 20).
				add(history.Event{At: 30, Call: 29, Kind: history.Granted, Worker: "b", Hold: "b", Key: "a", Token: token(10), Until: 900}),
			one(history.S1, history.Order),
		},
		"granted without an entry": {
			new(script).add(history.Event{At: 30, Call: 29, Kind: history.Granted, Worker: "b", Hold: "b", Key: "b", Token: token(10), Until: 900}),
			one(history.S1),
		},
		"overtaken in the queue": {
			new(script).add(history.Event{At: 1, Kind: history.Entry, Key: "a", Revision: 9}).
				grant("b", 12, 30, 900).release("b", 13, 40).gone("a", 14, 50), one(history.S1),
		},
		"a phantom": {
			new(script).grant("a", 10, 10, 900).add(history.Event{At: 20, Call: 2, Kind: history.Granted, Worker: "b", Hold: "b"}).
				add(history.Event{At: 21, Kind: history.Phantom, Hold: "b"}), one(history.Real),
		},
		"a guarded write": {
			new(script).grant("a", 10, 10, 900).txn("a", 10, 11, 15, 1, 0).release("a", 12, 20), one(),
		},
		"guarded writes of two, and an expiry": {
			new(script).grant("a", 10, 10, 900).txn("a", 10, 11, 15, 1, 0).release("a", 12, 20).
				grant("b", 14, 30, 900).txn("b", 14, 15, 40, 2, 1).gone("b", 16, 1000).grant("c", 17, 1001, 1900), one(),
		},
		"a guarded write after the entry": {
			new(script).grant("a", 10, 10, 900).release("a", 12, 20).txn("a", 10, 13, 25, 1, 0), one(history.S4, history.Order),
		},
		"a guarded write of the second in the queue": {
			new(script).grant("a", 10, 10, 900).add(history.Event{At: 11, Kind: history.Entry, Key: "b", Revision: 11}).
				add(history.Event{At: 12, Kind: history.Stored, Hold: "b", Token: token(11), Revision: 12, Value: 1}).
				release("a", 13, 20), one(history.S1),
		},
		"a guarded write over what was not there": {
			new(script).grant("a", 10, 10, 900).txn("a", 10, 11, 15, 1, 0).txn("a", 10, 12, 16, 2, 0).release("a", 13, 20),
			one(history.Order),
		},
		"an older token accepted": {
			new(script).grant("a", 10, 10, 900).gone("a", 11, 1000).grant("b", 12, 1001, 1900).
				write(history.Fenced, "b", 12, 1010, 1, 0, 0, true).write(history.Fenced, "a", 10, 1020, 2, 1, 1, true),
			one(history.S5, history.Order),
		},
		"an older token refused": {
			new(script).grant("a", 10, 10, 900).gone("a", 11, 1000).grant("b", 12, 1001, 1900).
				write(history.Fenced, "b", 12, 1010, 1, 0, 0, true).write(history.Fenced, "a", 10, 1020, 2, 1, 1, false), one(),
		},
		"a newer token refused": {
			new(script).grant("a", 10, 10, 900).write(history.Fenced, "a", 10, 20, 1, 0, 0, false), one(history.Order),
		},
		"a fenced read that saw the past": {
			new(script).grant("a", 10, 10, 900).write(history.Fenced, "a", 10, 20, 1, 0, 0, true).
				add(history.Event{At: 30, Call: 29, Kind: history.Read, Way: history.Fenced, Worker: "a", Hold: "a", Token: token(10), OK: true}),
			one(history.Order),
		},
		"a fenced update lost": {
			new(script).grant("a", 10, 10, 900).write(history.Fenced, "a", 10, 20, 1, 0, 7, true), one(history.S5),
		},
		"nobody after a death": {
			new(script).grant("a", 10, 10, 900).add(history.Event{At: 20, Kind: history.Died, Worker: "a", Hold: "a"}), one(history.L),
		},
		"late after a death": {
			new(script).grant("a", 10, 10, 900).wait("b", 12, 15).add(history.Event{At: 20, Kind: history.Died, Worker: "a", Hold: "a"}).
				gone("a", 11, 2000).grant("b", 12, 2021, 2900), one(history.L),
		},
		"late after a death, but in the queue in time": {
			new(script).grant("a", 10, 10, 900).add(history.Event{At: 20, Kind: history.Died, Worker: "a", Hold: "a"}).
				gone("a", 11, 2000).wait("b", 12, 22).grant("b", 12, 2021, 2900), one(),
		},
		"in time after a death": {
			new(script).grant("a", 10, 10, 900).add(history.Event{At: 20, Kind: history.Died, Worker: "a", Hold: "a"}).
				gone("a", 11, 2000).grant("b", 12, 2019, 2900), one(),
		},
		"the lab was stuck": {new(script).add(history.Event{At: 1, Kind: history.Broken, Detail: "stuck"}), one(history.Live)},
	} {
		r := c.history.check()
		require.Equal(t, c.want, properties(r), "%s: %v", what, r.Findings)
	}
}

func TestAMachineThatIsLateIsAllowedSoMuchMore(t *testing.T) {
	t.Parallel()
	events := new(script).grant("a", 10, 10, 900).add(history.Event{At: 20, Kind: history.Died, Worker: "a", Hold: "a"}).
		gone("a", 11, 2000).wait("b", 12, 15).grant("b", 12, 2021, 2900).events
	rules := history.Rules{TTL: ttl, Tokens: true, Late: func(from, to int64) time.Duration {
		require.Equal(t, []int64{20 * ms, 2021 * ms}, []int64{from, to})
		return 2 * time.Millisecond
	}}
	r := history.Check(events, rules)
	require.Empty(t, r.Findings)
}

func TestUnguardedUpdatesThatWereOverwrittenAreCounted(t *testing.T) {
	t.Parallel()
	r := new(script).grant("a", 10, 10, 900).gone("a", 11, 1000).grant("b", 12, 1001, 1900).
		write(history.Unguarded, "b", 12, 1010, 1, 0, 0, true).
		write(history.Unguarded, "a", 10, 1020, 1, 0, 1, true).
		check()
	require.Empty(t, r.Findings, "nobody promises anything about them")
	require.Equal(t, map[history.Way]int{history.Unguarded: 2}, r.Writes)
	require.Equal(t, map[history.Way]int{history.Unguarded: 1}, r.Lost)
}

// Without deadlines a hold lasts for as long as it says that it is valid.
func TestAHoldWithoutDeadlineThatClaimsToBeValidTooLongIsFound(t *testing.T) {
	t.Parallel()
	events := new(script).
		add(history.Event{At: 10, Call: 1, Kind: history.Granted, Worker: "a", Hold: "a"}).
		add(history.Event{At: 90, Kind: history.Valid, Worker: "a", Hold: "a"}).
		add(history.Event{At: 60, Call: 1, Kind: history.Granted, Worker: "b", Hold: "b"}).
		add(history.Event{At: 70, Kind: history.Valid, Worker: "b", Hold: "b"}).events
	r := history.Check(events, history.Rules{})
	require.True(t, r.Broken(history.S3))
	require.Equal(t, []time.Duration{30 * time.Millisecond}, r.Late)
}

func TestAGapInEtcdsHistoryIsNoted(t *testing.T) {
	t.Parallel()
	r := new(script).grant("a", 10, 10, 900).add(history.Event{Kind: history.Gap, Detail: "compacted"}).check()
	require.Len(t, r.Notes, 1)
	require.Empty(t, r.Findings)
}

func TestEventsAreReadAsTheyWereWritten(t *testing.T) {
	t.Parallel()
	want := new(script).grant("a", 10, 10, 900).txn("a", 10, 11, 15, 1, 0).release("a", 12, 20).events
	var file bytes.Buffer
	require.NoError(t, history.Write(&file, want))
	got, err := history.ReadAll(&file)
	require.NoError(t, err)
	require.Equal(t, want, got)
	_, err = history.ReadAll(bytes.NewBufferString("{\"at\":1}\n{"))
	require.ErrorContains(t, err, "event 2")
}

func TestAPlainWriteThatOverwritesAnotherUnseenIsCounted(t *testing.T) {
	t.Parallel()
	s := &script{}
	s.grant("a", 5, 10, 100).release("a", 5, 20).grant("b", 7, 30, 130)
	for i, w := range []struct{ value, found int64 }{{1, 0}, {2, 1}, {2, 1}} {
		s.add(history.Event{At: 40, Kind: history.Stored, Way: history.Plain, Hold: "a", Revision: int64(10 + i), Value: w.value, Found: w.found})
	}
	r := s.check()
	require.Equal(t, 3, r.Writes[history.Plain])
	require.Equal(t, 1, r.Lost[history.Plain])
	require.Zero(t, r.Writes[history.Txn])
	require.Empty(t, r.Findings)
}

func TestWritesOfWhoDiedBeforeTheReportAreKnownFromThoseWhoSawThem(t *testing.T) {
	t.Parallel()
	var s script
	s.grant("a", 10, 10, 1000)
	s.add(history.Event{At: 20, Kind: history.Judged, Way: history.Fenced, Worker: "a", Hold: "a", Token: token(10), Value: 1, OK: true})
	s.add(history.Event{At: 21, Kind: history.Stored, Way: history.Txn, Worker: "a", Hold: "a", Token: token(10), Revision: 11, Value: 1})
	died := s.add(history.Event{At: 30, Kind: history.Died, Worker: "a", Hold: "a"}).events
	s.gone("a", 12, 1100).grant("b", 13, 1200, 3000)
	s.add(history.Event{At: 1210, Call: 1209, Kind: history.Read, Way: history.Fenced, Worker: "b", Hold: "b", Token: token(13), Value: 1, OK: true})
	s.add(history.Event{At: 1220, Call: 1219, Kind: history.Wrote, Way: history.Txn, Worker: "b", Hold: "b", Token: token(13), Value: 2, Found: 1, OK: true})
	s.add(history.Event{At: 1221, Kind: history.Stored, Way: history.Txn, Worker: "b", Hold: "b", Token: token(13), Revision: 14, Value: 2, Found: 1})
	require.False(t, broken(s.events, history.Order))
	unseen := append(append([]history.Event(nil), died[:len(died)-3]...), s.events[len(died)-1:]...)
	require.True(t, broken(unseen, history.Order), "nobody has written what was read")
}

func broken(events []history.Event, p history.Property) bool {
	r := history.Check(events, history.Rules{TTL: ttl, Tokens: true})
	return r.Broken(p)
}
