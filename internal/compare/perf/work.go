package perf

import "context"

// Work is something that users do with a library, done by Conclave and others in turn.
type Work struct {
	// Name identifies the work among the recorded figures: "lock/uncontended".
	Name string
	// Title says in a line what is done.
	Title string
	// On is what it is done on.
	On Servers
	// Metrics is what a round measures, the most telling first.
	Metrics []Metric
	// Rounds is how often each side does the work in a full run, Quick how often in a
	// quick one, which leaves out the works for which it is zero. Another round comes
	// first and does not count, unless there is only one.
	Rounds, Quick int
	// Begin makes the sides ready, Conclave's first, and says how to end them.
	Begin func(ctx context.Context, on *Env) (sides []Side, end func() error, err error)
}

// Servers is what a work is done on, in processes of their own.
type Servers int

// None is for work that needs no server; the Etcd ones are clusters of one or three
// members, which write to disk before they answer, or do not; the Redis ones are
// independent nodes.
const (
	None        Servers = iota
	EtcdFast            // one member without fsync
	EtcdDurable         // one member with fsync
	EtcdCluster         // three members with fsync
	RedisOne
	RedisFive
)

// Side is one of those who do the work.
type Side struct {
	// Name is "conclave", a library's name or "raw": the operation of the server that
	// nobody can be faster than.
	Name string
	// Lacks names what Conclave gives here and this side does not; empty if it gives the
	// same.
	Lacks string
	// Round does the work once.
	Round func(ctx context.Context) (Samples, error)
}

// Samples is what a round measured, by the name of the metric.
type Samples map[string][]float64

// Metric is one quantity.
type Metric struct {
	// Name is "hand-over"; Unit is "ms", "1/s", "B", "writes".
	Name, Unit string
	// Stats are what is made of the samples of a run, the most telling first. Samples of
	// the metric [Margin] are also recorded one by one.
	Stats []Stat
	// More says that more is better. Otherwise less is.
	More bool
}

// Stat makes one figure of samples.
type Stat int

// P50, P90 and P99 are percentiles, Mean is the arithmetic mean.
const (
	P50 Stat = iota
	P90
	P99
	Mean
)

// Env is what works are done on. Its servers run in processes of their own and are shared
// by all works on them, so that each work uses names of its own.
type Env struct {
	// Quick says that the run is a quick one.
	Quick bool

	servers serversOf
}
