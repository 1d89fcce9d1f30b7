package chaos

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/conclave-go/conclave/internal/chaos/worker"
)

// crew is how many workers each lock has.
const crew = 3

// Scenario is a script of faults.
type Scenario struct {
	// Name is what tables and -only call it.
	Name string
	// Meaning says what happens, in a sentence.
	Meaning string
	// Systems are those that go through it.
	Systems []string
	// TTL is that of the locks; 0 is the lab's.
	TTL time.Duration
	// Few is of how many rounds one is played; 0 is 1. Long ones are played less often, two
	// times at least.
	Few int
	// Replica is set if Redis is one node with a replica.
	Replica bool
	// Etcd is the version that the members of etcd are at first; "" is the one that this
	// program is compiled with.
	Etcd string
	// script draws n rounds of steps.
	script func(d *draw, n int) []Step
}

// draw is where a script takes its choices from.
type draw struct {
	*rand.Rand

	ttl time.Duration
}

// between returns a random time.
func (d *draw) between(from, to time.Duration) time.Duration {
	return from + time.Duration(d.Int64N(int64(to-from))).Truncate(time.Millisecond)
}

// past returns a time after which what had the TTL is gone.
func (d *draw) past() time.Duration {
	return d.ttl + d.between(900*time.Millisecond, 1300*time.Millisecond)
}

// step is a fault that lasts past the TTL and hits a random worker at a point.
func (d *draw) step(fault, point string) Step {
	return Step{Fault: fault, Point: point, Worker: d.IntN(crew), For: d.past()}
}

// repeat makes n steps.
func repeat(next func(d *draw) Step) func(*draw, int) []Step {
	return func(d *draw, n int) []Step {
		var all []Step
		for range n {
			all = append(all, next(d))
		}
		return all
	}
}

// one repeats one fault at one point.
func one(fault, point string) func(*draw, int) []Step {
	return repeat(func(d *draw) Step { return d.step(fault, point) })
}

// Scenarios returns all scenarios.
func Scenarios() []Scenario {
	all := names(func(s System) bool { return s.Shards == 0 && s.Name != delayed && s.Name != redlockUptime })
	etcd := names(func(s System) bool { return s.Shards == 0 && s.onEtcd() && s.Name != delayed })
	queue := names(func(s System) bool { return s.Shards == 0 && (s.ours() || s.Name == stockElection) })
	scenarios := slices.Concat(holderScenarios(all, queue), etcdScenarios(etcd), clusterScenarios(etcd), clockScenarios(), redisScenarios())
	for i, s := range scenarios {
		if slices.Contains(ofGroups(), s.Name) {
			scenarios[i].Systems = append(slices.Clone(s.Systems), divided, ring)
		}
	}
	return append(scenarios, Scenario{
		Name: "planner-kill", Systems: []string{divided}, Few: 2, script: repeat(func(d *draw) Step { return Step{Fault: killPlanner, For: d.past()} }),
		Meaning: "The member that plans is killed between two pieces of a plan, and replaced.",
	})
}

// ofGroups are the scenarios that groups of shards go through, too.
func ofGroups() []string {
	return []string{"pause-before", "pause-between", "kill", "cut", "cut-one-way", "vanish", "member-kill", "leader-move", "peers-cut", "compaction", "follower-cut"}
}

// holderScenarios are those of workers and their networks.
func holderScenarios(all, queue []string) []Scenario {
	return []Scenario{
		{
			Name: "pause-before", Systems: all, script: one(pause, worker.Before),
			Meaning: "The holder is stopped past its TTL, before it looks at its hold, and then goes on.",
		},
		{
			Name: "pause-between", Systems: all, script: one(pause, worker.Between),
			Meaning: "The holder is stopped past its TTL between that look and its write.",
		},
		{
			Name: "stalls", Systems: all, script: repeat(func(d *draw) Step {
				return Step{Fault: stall, For: d.past(), Size: d.between(100*time.Millisecond, d.ttl/3)}
			}),
			Meaning: "Workers are stopped for moments shorter than the TTL, as by garbage collection.",
		},
		{
			Name: "kill", Systems: all, script: one(kill, worker.Between),
			Meaning: "The holder is killed, and another worker takes its place.",
		},
		{
			Name: "cut", Systems: all, script: one(cut, worker.Stay),
			Meaning: "The holder is cut off from all servers, both ways, past its TTL.",
		},
		{
			Name: "cut-one-way", Systems: all, script: func(d *draw, n int) []Step {
				var steps []Step
				for i := range n {
					steps = append(steps, d.step([]string{cutOut, cutIn}[i%2], worker.Stay))
				}
				return steps
			},
			Meaning: "Only what the holder sends, or only what it is sent, is held back past its TTL.",
		},
		{
			Name: "vanish", Systems: all, script: one(vanish, worker.Stay),
			Meaning: "The holder's servers vanish without a word: connections stay open and silent.",
		},
		{
			Name: "slow-network", Systems: all, script: func(d *draw, n int) []Step {
				var steps []Step
				for i := range n {
					s := d.step([]string{delay, reset}[i%2], worker.Stay)
					s.Size = d.between(50*time.Millisecond, d.ttl/2)
					steps = append(steps, s)
				}
				return steps
			},
			Meaning: "The holder's traffic is late by up to half a TTL, or its connections are reset again and again.",
		},
		{
			Name: "cut-waiting", Systems: queue, script: one(cutQueue, worker.Stay),
			Meaning: "One who waits is cut off past its TTL and comes back; then the holder leaves.",
		},
	}
}

// etcdScenarios are those of etcd's members and operators.
func etcdScenarios(etcd []string) []Scenario {
	delayedToo := append(slices.Clone(etcd), delayed)
	return []Scenario{
		{
			Name: "member-kill", Systems: etcd, script: repeat(func(d *draw) Step {
				return Step{Fault: killMember, Point: worker.Stay, Worker: d.IntN(crew), Node: d.IntN(3), For: d.between(500*time.Millisecond, d.ttl)}
			}),
			Meaning: "A member of etcd, perhaps the leader, is killed while somebody holds the lock, and restarted.",
		},
		{
			Name: "member-stop", Systems: etcd, script: one(pauseMember, worker.Stay),
			Meaning: "A follower is stopped past the TTL: those connected to it hear nothing.",
		},
		{
			Name: "leader-stall", Systems: delayedToo, script: repeat(func(d *draw) Step {
				return Step{Fault: stallLeader, Point: worker.Stay, Worker: d.IntN(crew), For: d.between(1200*time.Millisecond, 2*d.ttl)}
			}),
			Meaning: "The leader of etcd is stopped, another takes over, and the first resumes.",
		},
		{
			Name: "leader-move", Systems: etcd, script: repeat(func(d *draw) Step {
				return Step{Fault: moveLeader, Point: worker.Stay, Worker: d.IntN(crew), For: d.between(300*time.Millisecond, time.Second)}
			}),
			Meaning: "The leadership of etcd is handed to another member while somebody holds the lock.",
		},
		{
			Name: "peers-cut", Systems: etcd, script: one(isolate, worker.Stay),
			Meaning: "The leader of etcd is cut off from the other members, but not from its clients.",
		},
		{
			Name: "operator", Systems: etcd, script: func(d *draw, n int) []Step {
				var steps []Step
				for i := range n {
					s := d.step([]string{revoke, remove}[i%2], worker.Stay)
					s.For = d.ttl
					steps = append(steps, s)
				}
				return steps
			},
			Meaning: "An operator revokes the holder's lease, or deletes its key.",
		},
		{
			Name: "compaction", Systems: etcd, script: repeat(func(d *draw) Step {
				return Step{Fault: compact, Point: worker.Stay, Worker: d.IntN(crew), For: d.between(300*time.Millisecond, time.Second)}
			}),
			Meaning: "The history is compacted while others wait, again and again.",
		},
	}
}

// redisTTL is longer, so that the time between two renewals is: who waits has to
// find out in it that the key is gone.
const redisTTL = 6 * time.Second

// redisScenarios are those of Redis nodes.
func redisScenarios() []Scenario {
	server := func(fault string, lasts time.Duration) func(*draw, int) []Step {
		return repeat(func(d *draw) Step {
			return Step{Fault: fault, Point: worker.Stay, Worker: d.IntN(crew), Node: d.IntN(5), For: lasts, Size: time.Minute}
		})
	}
	return []Scenario{
		{
			Name: "redis-minority", Systems: []string{redlock5}, script: func(d *draw, n int) []Step {
				var steps []Step
				for i := range n {
					s := d.step([]string{minority, stopNode}[i%2], worker.Stay)
					s.Node = d.IntN(5)
					steps = append(steps, s)
				}
				return steps
			},
			Meaning: "Fewer than half of the nodes are killed and come back empty, or are stopped.",
		},
		{
			Name: "redis-restart", Systems: []string{plainRedis, redlock5, redlockUptime}, TTL: redisTTL, Few: 2,
			script:  server(restartEmpty, 1800*time.Millisecond),
			Meaning: "A majority of the nodes restarts without its keys.",
		},
		{
			Name: "redis-clock", Systems: []string{plainRedis, redlock5}, TTL: redisTTL, Few: 2,
			script:  server(clockJump, 1800*time.Millisecond),
			Meaning: "The clocks of a majority of the nodes jump forward by a minute, and later back.",
		},
		{
			Name: "redis-failover", Systems: []string{plainRedis}, TTL: redisTTL, Few: 2, Replica: true,
			script:  server(failOver, 1900*time.Millisecond),
			Meaning: "The node dies, and its replica takes over, which has not heard of the lock.",
		},
	}
}

// names returns those of some systems.
func names(which func(System) bool) []string {
	var all []string
	for _, s := range Systems() {
		if which(s) {
			all = append(all, s.Name)
		}
	}
	return all
}
