package chaos

import (
	"slices"
	"time"

	"github.com/conclave-go/conclave/internal/chaos/history"
)

// Step is one fault of a schedule.
type Step struct {
	// Fault is which, see Faults in docs/chaos.md.
	Fault string `json:"fault"`
	// Point is where the worker that it hits waits for it; "" for nowhere.
	Point string `json:"point,omitempty"`
	// Worker is whom it hits, of three; Node is which server.
	Worker int `json:"worker"`
	Node   int `json:"node,omitempty"`
	// For is how long it lasts, Size how much of it there is.
	For  time.Duration `json:"for"`
	Size time.Duration `json:"size,omitempty"`
	// Percent is how much of it there is where that is no time: of messages that are
	// dropped, of its rate that a clock has.
	Percent float64 `json:"percent,omitempty"`
}

// Names of faults.
const (
	pause    = "pause"    // the worker is stopped
	stall    = "stall"    // workers are stopped for moments, as by garbage collection
	kill     = "kill"     // the worker is killed
	cut      = "cut"      // it is cut off both ways
	cutOut   = "cut-out"  // what it sends is held back
	cutIn    = "cut-in"   // what it is sent
	vanish   = "vanish"   // its servers vanish without a word
	delay    = "delay"    // its traffic is late
	reset    = "reset"    // its connections are reset, again and again
	cutQueue = "cut-wait" // one who waits is cut off, while the holder stays

	killPlanner = "planner-kill" // the member that plans is killed between two pieces of a plan

	killMember  = "member-kill"    // a member of etcd is killed, and restarted
	pauseMember = "member-stop"    // a follower is stopped
	stallLeader = "leader-stall"   // the leader is stopped, and resumes
	moveLeader  = "leader-move"    // the leadership is handed over
	isolate     = "leader-isolate" // the leader is cut off from the other members
	compact     = "compact"        // the history is compacted while others wait
	revoke      = "revoke"         // an operator revokes the holder's lease
	remove      = "delete"         // an operator deletes the holder's key

	isolateFollower = "follower-isolate" // a follower is cut off from the other members, not from clients
	vanishMember    = "member-vanish"    // one or two members vanish for all clients: connections stay open and silent
	replaceMember   = "member-replace"   // a member is removed, and a new one added elsewhere
	slowServers     = "server-slow"      // all traffic between clients and members is late
	slowLeader      = "leader-slow"      // the leader is stopped for moments, again and again
	slowPeers       = "peer-delay"       // traffic between members is late
	lossyPeers      = "peer-loss"        // members drop some of the messages between them
	stallDisk       = "disk-stall"       // the leader's disk does not answer
	addLearner      = "learner"          // a learner is added, and promoted and removed at the end
	fullStore       = "nospace"          // the members have no space left
	defragment      = "defragment"       // the members rewrite their stores, one after another
	awayMember      = "member-away"      // a member is away for so long that it is sent a snapshot
	upgradeMember   = "upgrade"          // a member is restarted as the next version

	slowClock = "clock-slow" // the holder's clock runs slow, and it is cut off

	restartEmpty = "redis-restart"  // a majority of nodes restarts without its keys
	minority     = "redis-minority" // fewer than half of the nodes are killed, and come back empty
	stopNode     = "redis-stop"     // fewer than half are stopped
	clockJump    = "redis-clock"    // the clocks of a majority are set forward, and back
	failOver     = "redis-failover" // the node is killed, and its replica serves, which is behind
)

// class is what faults are counted as.
type class string

const (
	partition class = "partitions"
	pausing   class = "pauses"
	other     class = "others"
)

// fault is what is known about a kind of fault.
type fault struct {
	class class
	// server is set if it hits servers, and so all locks on them.
	server bool
	// keeps is set if no hold may be lost to it.
	keeps bool
	// takes are the properties that it takes back from systems on etcd and on Redis.
	etcd, redis []history.Property
	// spared says which systems are spared from that; nil spares none.
	spared func(System) bool
}

// voids returns what the fault takes back.
func (f fault) voids(s System) []history.Property {
	switch {
	case f.spared != nil && f.spared(s):
		return nil
	case s.onEtcd():
		return f.etcd
	default:
		return f.redis
	}
}

// faults returns all faults, by name.
func faults() map[string]fault {
	exclusion := []history.Property{history.S3, history.Order}
	late := []history.Property{history.L} // it speaks of a stable leader
	// An entry may be gone early: also before a worker looks for it that has no deadline.
	early := slices.Concat(late, exclusion, []history.Property{history.Real})
	return map[string]fault{
		pause: {class: pausing}, stall: {class: pausing}, kill: {class: other},
		cut: {class: partition}, cutOut: {class: partition}, cutIn: {class: partition}, vanish: {class: partition},
		cutQueue: {class: partition}, delay: {class: other}, reset: {class: other}, killPlanner: {class: other},

		killMember: {class: other, server: true, etcd: late}, pauseMember: {class: pausing, server: true, etcd: late},
		stallLeader: {
			class: pausing, server: true, etcd: early,
			spared: func(s System) bool { return s.Delay }, // which never promises L
		},
		moveLeader: {class: other, server: true, etcd: late}, isolate: {class: partition, server: true, etcd: late},
		compact: {class: other, server: true},

		isolateFollower: {class: partition, server: true, keeps: true},
		vanishMember:    {class: partition, server: true, keeps: true},
		slowServers:     {class: other, server: true, keeps: true},
		slowLeader:      {class: pausing, server: true, keeps: true},
		slowPeers:       {class: other, server: true, keeps: true},
		lossyPeers:      {class: other, server: true, etcd: late},
		replaceMember:   {class: other, server: true, keeps: true, etcd: late},
		stallDisk: {
			class: pausing, server: true, etcd: early,
			spared: func(s System) bool { return s.Delay },
		},
		addLearner: {class: other, server: true, keeps: true}, fullStore: {class: other, server: true, keeps: true},
		defragment: {class: other, server: true, keeps: true}, awayMember: {class: other, server: true, keeps: true, etcd: late},
		upgradeMember: {class: other, server: true, etcd: late},
		slowClock:     {class: partition, etcd: exclusion, redis: exclusion},

		revoke: {class: other}, remove: {class: other},

		restartEmpty: {
			class: other, server: true, redis: exclusion,
			spared: func(s System) bool { return s.Name == redlockUptime },
		},
		minority: {class: other, server: true}, stopNode: {class: pausing, server: true},
		clockJump: {class: other, server: true, redis: exclusion},
		failOver:  {class: other, server: true, redis: exclusion},
	}
}
