package chaos

import (
	"fmt"
	"slices"
	"time"

	"github.com/conclave-go/conclave/internal/chaos/worker"
)

// ingredient is a fault that random compositions may have.
type ingredient struct {
	fault, point string
	weak         bool // it takes S3 back from somebody
}

// Compose draws the random compositions of one round of a soak, of n faults each: one on
// etcd, one on Redis. In half of the rounds there is nothing that takes S3 back.
func Compose(seed uint64, round int, ttl time.Duration, n int) Schedule {
	name := fmt.Sprintf("soak-%d", round)
	d := newDraw(seed, name, ttl)
	etcd := names(func(s System) bool { return s.onEtcd() && s.Shards == 0 })
	redis := []string{plainRedis, redlock5, naiveRedis}
	ours := names(func(s System) bool { return s.ours() && s.Shards == 0 })
	d.Shuffle(len(ours), func(i, j int) { ours[i], ours[j] = ours[j], ours[i] })
	etcd = slices.DeleteFunc(etcd, func(s string) bool { return slices.Contains(ours[2:], s) })
	return Schedule{Seed: seed, Entries: []Entry{
		d.compose(name+"-etcd", n, etcd, append(workerFaults(), etcdFaults()...)),
		d.compose(name+"-redis", n, redis, append(workerFaults(), redisFaults()...)),
	}}
}

// compose draws steps for some systems.
func (d *draw) compose(name string, n int, systems []string, of []ingredient) Entry {
	if d.IntN(2) == 0 {
		of = slices.DeleteFunc(of, func(i ingredient) bool { return i.weak })
	}
	e := Entry{Scenario: name, Meaning: "A random composition of faults.", Systems: systems, TTL: d.ttl}
	for range n {
		i := of[d.IntN(len(of))]
		s := d.step(i.fault, i.point)
		s.Node, s.Size = d.IntN(5), d.between(50*time.Millisecond, d.ttl/3)
		if i.fault == clockJump {
			s.Size = time.Minute
		}
		e.Steps = append(e.Steps, s)
	}
	return e
}

func workerFaults() []ingredient {
	return []ingredient{
		{fault: pause, point: worker.Before},
		{fault: pause, point: worker.Between},
		{fault: stall},
		{fault: kill, point: worker.Between},
		{fault: cut, point: worker.Stay},
		{fault: cutIn, point: worker.Stay},
		{fault: cutOut, point: worker.Stay},
		{fault: vanish, point: worker.Stay},
		{fault: delay, point: worker.Stay},
		{fault: reset, point: worker.Stay},
	}
}

func etcdFaults() []ingredient {
	return []ingredient{
		{fault: killMember, point: worker.Stay},
		{fault: pauseMember, point: worker.Stay},
		{fault: stallLeader, point: worker.Stay, weak: true},
		{fault: moveLeader, point: worker.Stay},
		{fault: isolate, point: worker.Stay},
		{fault: compact, point: worker.Stay},
		{fault: revoke, point: worker.Stay},
		{fault: remove, point: worker.Stay},
		{fault: cutQueue, point: worker.Stay},
	}
}

func redisFaults() []ingredient {
	return []ingredient{
		{fault: minority, point: worker.Stay},
		{fault: stopNode, point: worker.Stay},
		{fault: restartEmpty, point: worker.Stay, weak: true},
		{fault: clockJump, point: worker.Stay, weak: true},
	}
}
