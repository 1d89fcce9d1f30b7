package capacity

import (
	"io"
	"time"
)

// Config says how much is measured.
type Config struct {
	// TTL is that of the sessions of the loads; StairTTL that of the sessions whose
	// renewals are the load of a stair.
	TTL, StairTTL time.Duration
	// Rounds is for how many rounds of renewals, a third of the TTL each, a load is left
	// alone.
	Rounds int
	// Settle is how long what a growing load has stirred up may take to calm down.
	Settle time.Duration
	// Step is how long a step of a stair takes.
	Step time.Duration
	// Fsync lets the server write to disk before it answers.
	Fsync bool
	// Probes is how often an operation is done beside a load, Operations how often one
	// whose cost is counted.
	Probes, Operations int

	// The largest numbers. HandedOver are waiters with sessions of their own.
	Sessions, Clients, Holds, Waiters, HandedOver, Keys, Observers, Watchers int
	// Workers and Renewed are where the stairs end.
	Workers, Renewed int

	// Progress is told what goes on.
	Progress io.Writer
}

// Full is what the documented figures are from. It takes about ten minutes.
func Full(progress io.Writer) Config {
	return Config{
		TTL: 10 * time.Second, StairTTL: 2 * time.Second, Rounds: 3, Settle: time.Second, Step: 3 * time.Second, Fsync: true,
		Probes: 100, Operations: 2000,
		Sessions: 10_000, Clients: 1000, Holds: 100_000, Waiters: 10_000, HandedOver: 1000, Keys: 100_000, Observers: 1000, Watchers: 1000,
		Workers: 1024, Renewed: 12_800,
		Progress: progress,
	}
}

// Quick shows that everything works. It takes less than a minute.
func Quick(progress io.Writer) Config {
	return Config{
		TTL: 3 * time.Second, StairTTL: 2 * time.Second, Rounds: 1, Settle: 100 * time.Millisecond, Step: 300 * time.Millisecond,
		Probes: 5, Operations: 50,
		Sessions: 50, Clients: 50, Holds: 50, Waiters: 50, HandedOver: 50, Keys: 50, Observers: 50, Watchers: 50,
		Workers: 8, Renewed: 100,
		Progress: progress,
	}
}

// sizes returns the powers of ten up to largest, three at most, and largest.
func sizes(largest int) []int {
	const most = 3
	all := []int{largest}
	for n := largest / 10; n > 0 && len(all) < most; n /= 10 {
		all = append([]int{n}, all...)
	}
	return all
}
