package capacity

import (
	"fmt"
	"time"
)

// Fleet is a number of processes that are alike.
type Fleet struct {
	Processes int
	// What each of them has, with its one client and session.
	Holds, Waiters, Keys int
	// Locks is how often a second a lock is taken and given up, in the whole fleet.
	Locks int
}

// Example is the fleet that docs/capacity.md calculates.
func Example() Fleet {
	return Fleet{Processes: 500, Holds: 20, Waiters: 2, Keys: 5000, Locks: 500}
}

// estimate says what a fleet costs, by the models.
func estimate(rows []Row, f Fleet) table {
	t := table{
		title: fmt.Sprintf("A fleet of %d processes", f.Processes),
		note: fmt.Sprintf("Each has a session that holds %d locks and waits for %d more, a cache of the same %s keys, and observes an election; together they lock and unlock %d times a second.",
			f.Holds, f.Waiters, thousands(float64(f.Keys)), f.Locks),
		header: []string{"", "each process", "the cluster, at rest", "the cluster, with the locking"},
	}
	_, processes := series(rows, Loads, processLoad, ClientMemory)
	_, locks := series(rows, Operations, lockAndUnlock, OpRequests)
	if len(processes) == 0 || len(locks) == 0 {
		return t
	}
	locking := f.locking(rows)
	for _, q := range atRest() {
		client := q.name == ClientMemory || q.name == Goroutines || q.name == ClientCPU
		process := f.process(rows, q.name)
		line := []string{q.heading(), format(process, q.unit), "", ""}
		if !client {
			rest := process * float64(f.Processes)
			if q.name == Store || q.name == ServerMemory { // all cache the same keys
				rest -= float64(f.Processes-1) * float64(f.Keys) * one(rows, keyLoad, q.name)
				line[1] = ""
			}
			line[2], line[3] = format(rest, q.unit), format(rest+locking[q.name], q.unit)
		}
		t.rows = append(t.rows, line)
	}
	perHour := float64(f.Locks) * time.Hour.Seconds()
	history := func(name, quantity, unit string) {
		t.rows = append(t.rows, []string{name, "", "", format(perHour*cost(rows, quantity), unit)})
	}
	history("revisions in an hour", OpRevisions, "")
	history("store that an hour's history takes", OpStore, "B")
	return t
}

// one returns what one more of a load costs, nothing if that could not be measured.
func one(rows []Row, load, quantity string) float64 {
	m, err := model(rows, load, quantity)
	if err != nil || !m.known() {
		return 0
	}
	return m.Each
}

// process returns what a process of the fleet costs while nothing is asked for. Its client
// is counted twice, since the first observer brings a watch, which is not seen in what one
// more observer costs.
func (f Fleet) process(rows []Row, quantity string) float64 {
	return one(rows, processLoad, quantity) +
		one(rows, watcherLoad, quantity) +
		float64(f.Holds)*one(rows, holdLoad, quantity) +
		float64(f.Waiters)*one(rows, waiterLoad, quantity) +
		float64(f.Keys)*one(rows, keyLoad, quantity)
}

// locking returns what the fleet's locking adds to what the cluster does, per second.
func (f Fleet) locking(rows []Row) map[string]float64 {
	n := float64(f.Locks)
	return map[string]float64{
		Requests: n * cost(rows, OpRequests), Traffic: n * cost(rows, OpTraffic), ServerCPU: n * cost(rows, OpServerCPU),
		Entries: n * cost(rows, OpEntries), WAL: n * cost(rows, OpWAL),
	}
}

// cost returns what locking and unlocking once costs.
func cost(rows []Row, quantity string) float64 {
	_, values := series(rows, Operations, lockAndUnlock, quantity)
	if len(values) == 0 {
		return 0
	}
	return values[0]
}
