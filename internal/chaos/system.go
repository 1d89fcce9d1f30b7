package chaos

import (
	"slices"

	"github.com/conclave-go/conclave/internal/chaos/history"
	"github.com/conclave-go/conclave/internal/chaos/worker"
)

// System is a lock of some kind.
type System struct {
	// Name is what tables and -only call it.
	Name string
	// Meaning says what it is, in a few words.
	Meaning string
	// Kind is the worker's name for it.
	Kind string
	// Nodes is how many Redis nodes it is kept on; 0 is etcd.
	Nodes int
	// Delay gives a mutex a lock delay of a TTL and a second.
	Delay bool
	// Shards is how many locks it is, as shards of a group; 0 is one lock.
	Shards int
	// Busy lets workers keep the lock for longer, and ask for it again sooner.
	Busy bool
	// Promises are the properties that it promises, as long as no fault takes that back.
	Promises []history.Property
	// Control is set if it is there to be caught.
	Control bool
}

// Names of systems.
const (
	mutex         = "mutex"
	delayed       = "mutex+delay"
	rwmutex       = "rwmutex"
	elections     = "election"
	switched      = "concurrency"
	switchedElect = "campaign"
	divided       = "shards"
	ring          = "ring"
	plainRedis    = "redis"
	redlock5      = "redlock"
	redlockUptime = "redlock+uptime"
	stockMutex    = "stock-mutex"
	stockElection = "stock-election"
	naiveRedis    = "naive-redis"
)

// trialShards is how many shards a group has.
const trialShards = 3

// Systems returns all systems, controls last.
func Systems() []System {
	etcd := []history.Property{
		history.S1, history.S2, history.S3, history.S4, history.S5,
		history.L, history.Live, history.Real, history.InTime, history.Order, history.Kept, history.Spec,
	}
	redis := []history.Property{history.S3, history.Live, history.InTime, history.Order}
	return []System{
		{Name: mutex, Meaning: "lock.Mutex", Kind: worker.KindMutex, Promises: etcd},
		{Name: delayed, Meaning: "lock.Mutex with WithLockDelay", Kind: worker.KindMutex, Delay: true, Promises: without(etcd, history.L)},
		{Name: rwmutex, Meaning: "lock.RWMutex, writers", Kind: worker.KindRWMutex, Promises: etcd},
		{Name: elections, Meaning: "election.Election", Kind: worker.KindElection, Promises: etcd},
		{Name: switched, Meaning: "concurrency.Mutex", Kind: worker.KindConcurrencyMutex, Promises: etcd},
		{Name: switchedElect, Meaning: "concurrency.Election", Kind: worker.KindConcurrencyElection, Promises: etcd},
		{Name: divided, Meaning: "shard.Member: each shard of a group", Kind: worker.KindShards, Shards: trialShards, Promises: etcd},
		{Name: plainRedis, Meaning: "redlock.Mutex on one node", Kind: worker.KindRedis, Nodes: 1, Promises: redis},
		{Name: redlock5, Meaning: "redlock.Mutex on five nodes", Kind: worker.KindRedis, Nodes: 5, Promises: redis},
		{Name: redlockUptime, Meaning: "the same with WithMinUptime", Kind: worker.KindUptime, Nodes: 5, Promises: redis},
		{Name: stockMutex, Meaning: "clientv3/concurrency.Mutex", Kind: worker.KindStockMutex, Control: true},
		{Name: stockElection, Meaning: "clientv3/concurrency.Election", Kind: worker.KindStockElection, Control: true},
		{Name: ring, Meaning: "a hash ring over a cache of members, without locks", Kind: worker.KindRing, Shards: trialShards, Control: true},
		{Name: naiveRedis, Meaning: "SET NX PX, and DEL without a look", Kind: worker.KindNaive, Nodes: 1, Control: true, Busy: true},
	}
}

// named returns a system of the schedule.
func (s Schedule) named(name string) (System, bool) {
	all := append(Systems(), s.Peers...)
	i := slices.IndexFunc(all, func(s System) bool { return s.Name == name })
	if i < 0 {
		return System{}, false
	}
	return all[i], true
}

func without(all []history.Property, some ...history.Property) []history.Property {
	return slices.DeleteFunc(slices.Clone(all), func(p history.Property) bool { return slices.Contains(some, p) })
}

// onEtcd reports whether the lock is kept on etcd.
func (s System) onEtcd() bool { return s.Nodes == 0 }

// specified reports whether what workers do is checked against the specification, which does
// not know of package concurrency.
func (s System) specified() bool {
	return s.ours() && s.Kind != worker.KindConcurrencyMutex && s.Kind != worker.KindConcurrencyElection
}

// locks returns the names of the locks of a trial of this name.
func (s System) locks(name string) (all []string) {
	if s.Shards == 0 {
		return []string{name}
	}
	for id := range s.Shards {
		all = append(all, worker.ShardLock(name, id))
	}
	return all
}

// ours reports whether it is this library's lock on etcd.
func (s System) ours() bool { return s.onEtcd() && !s.Control }

// lock reports whether it is one of ours with one owner of one thing.
func (s System) lock() bool { return s.ours() && s.Shards == 0 }

// promises returns what the system promises while these faults happen.
func (s System) promises(steps []Step) []history.Property {
	left := s.Promises
	for _, step := range steps {
		left = without(left, faults()[step.Fault].voids(s)...)
	}
	return left
}
