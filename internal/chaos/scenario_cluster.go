package chaos

import (
	"slices"
	"time"

	"github.com/conclave-go/conclave/internal/chaos/worker"
	"github.com/conclave-go/conclave/internal/servers"
)

// keptTTL is that of the locks where none may be lost: an attempt to renew one is a tenth of
// it old when the next goes out beside it, and this machine has other things to do.
const keptTTL = 4 * time.Second

// upgraded is the version from which members are upgraded.
const upgraded = "3.6"

// lasting repeats a fault that lasts past the TTL; in one round somebody keeps the lock all
// that time, in the next it is passed on.
func lasting(next func(d *draw, i int) Step) func(*draw, int) []Step {
	return func(d *draw, n int) []Step {
		var all []Step
		for i := range n {
			s := next(d, i)
			s.Worker, s.Node, s.For = d.IntN(crew), d.IntN(3), d.past()
			if i%2 == 0 {
				s.Point = worker.Stay
			}
			all = append(all, s)
		}
		return all
	}
}

// always makes every step the same fault.
func always(fault string) func(*draw, int) []Step {
	return lasting(func(*draw, int) Step { return Step{Fault: fault} })
}

// clusterScenarios are those in which etcd is slow, limited, or of another version: its clients
// have to live with that.
func clusterScenarios(etcd []string) []Scenario {
	delayedToo := append(slices.Clone(etcd), delayed)
	return []Scenario{
		{
			Name: "follower-cut", Systems: etcd, TTL: keptTTL, Few: 2, script: always(isolateFollower),
			Meaning: "A follower of etcd is cut off from the other members, but not from its clients.",
		},
		{
			Name: "member-vanish", Systems: etcd, TTL: keptTTL, Few: 2, script: always(vanishMember),
			Meaning: "One or two members of etcd vanish for all clients: connections to them stay open and silent.",
		},
		{
			Name: "member-replace", Systems: etcd, TTL: keptTTL, Few: 3, script: always(replaceMember),
			Meaning: "A member of etcd is removed and another added elsewhere; clients learn its address later.",
		},
		{
			Name: "slow-servers", Systems: etcd, TTL: keptTTL, Few: 3, script: lasting(func(d *draw, i int) Step {
				return Step{Fault: []string{slowServers, slowLeader}[i%2], Size: d.between(100*time.Millisecond, 3*d.ttl/20)}
			}),
			Meaning: "Round trips to all members take up to three tenths of the TTL, or the leader is stopped two thirds of the time.",
		},
		{
			Name: "slow-peers", Systems: etcd, TTL: keptTTL, Few: 3, script: lasting(func(d *draw, _ int) Step {
				return Step{Fault: slowPeers, Size: d.between(20*time.Millisecond, 100*time.Millisecond)}
			}),
			Meaning: "What the members of etcd send each other is late.",
		},
		{
			Name: "lossy-peers", Systems: etcd, TTL: keptTTL, Few: 3, script: lasting(func(d *draw, _ int) Step {
				return Step{Fault: lossyPeers, Percent: float64(10 + d.IntN(20))}
			}),
			Meaning: "Ten to thirty percent of what the members of etcd send each other is lost.",
		},
		{
			Name: "disk-stall", Systems: delayedToo, Few: 2, script: lasting(func(*draw, int) Step { return Step{Fault: stallDisk} }),
			Meaning: "The disk of etcd's leader does not answer; another takes over, and then it does.",
		},
		{
			Name: "learner", Systems: etcd, TTL: keptTTL, Few: 3, script: always(addLearner),
			Meaning: "One of the clients' endpoints is a learner of etcd, which joins, is promoted and leaves.",
		},
		{
			Name: "no-space", Systems: etcd, TTL: keptTTL, Few: 3, script: always(fullStore),
			Meaning: "The members of etcd have no space left, and take neither puts nor leases.",
		},
		{
			Name: "defragmenting", Systems: etcd, TTL: keptTTL, Few: 3, script: always(defragment),
			Meaning: "The members of etcd rewrite their stores, one after another, again and again.",
		},
		{
			Name: "member-away", Systems: etcd, TTL: keptTTL, Few: 3, script: always(awayMember),
			Meaning: "A member of etcd is away for so long that it is sent a snapshot when it is back.",
		},
		{
			Name: "old-etcd", Systems: etcd, Few: 2, Etcd: servers.PathVersion, script: repeat(func(d *draw) Step {
				fault := []string{killMember, pauseMember, moveLeader}[d.IntN(3)]
				return Step{Fault: fault, Point: worker.Stay, Worker: d.IntN(crew), Node: d.IntN(3), For: d.between(500*time.Millisecond, d.ttl)}
			}),
			Meaning: "Members of the etcd that is installed, an older one, are killed, stopped, and lead in turns.",
		},
		{
			Name: "upgrade", Systems: etcd, TTL: keptTTL, Few: 3, Etcd: upgraded, script: func(d *draw, n int) []Step {
				all := always(upgradeMember)(d, max(n, 3))
				for i := range all {
					all[i].Node, all[i].For = i, d.between(500*time.Millisecond, 1500*time.Millisecond)
				}
				return all
			},
			Meaning: "The members of etcd are restarted as the next version, one after another.",
		},
	}
}

// clockScenarios are those of workers' clocks.
func clockScenarios() []Scenario {
	systems := append(names(System.ours), plainRedis, redlock5)
	systems = slices.DeleteFunc(systems, func(s string) bool { return s == delayed })
	slow := func(percent float64) func(*draw, int) []Step {
		return repeat(func(d *draw) Step {
			s := d.step(slowClock, worker.Stay)
			s.For, s.Percent = 2*d.ttl, percent
			return s
		})
	}
	return []Scenario{
		{
			Name: "clock-within", Systems: systems, TTL: keptTTL, Few: 3, script: slow(99.3),
			Meaning: "The clock of a holder that is cut off runs slow, by less than the allowance.",
		},
		{
			Name: "clock-beyond", Systems: systems, TTL: keptTTL, Few: 3, script: slow(60),
			Meaning: "The clock of a holder that is cut off runs slow, by much more than the allowance.",
		},
	}
}
