package conclaveprom

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/conclave-go/conclave/conclaveprom/internal/collect"
	"github.com/conclave-go/conclave/shard"
)

// Reasons for which an ownership was not given up in order.
const (
	shardLost     = "lost"
	shardDrain    = "drain"
	shardFunction = "function"
)

// shards are the metrics of groups of shards.
type shards struct {
	owned                *prometheus.GaugeVec
	wait, hold           *prometheus.HistogramVec
	losses               *prometheus.CounterVec
	plans, failed, moves *prometheus.CounterVec
	// planner are gauges that only the planner's process has.
	members, unowned, bare, moving, pending, size *prometheus.GaugeVec
}

func newShards(c collect.Config) *shards {
	return &shards{
		owned:   c.Gauge("shard_owned", "Shards that this process owns.", "group"),
		wait:    c.Histogram("shard_wait_seconds", "Time from asking for a shard to owning it.", "group"),
		hold:    c.Histogram("shard_hold_seconds", "Time for which a shard was owned.", "group"),
		losses:  c.Counter("shard_losses_total", "Ownerships that did not end in order, by kind of reason.", "group", "reason"),
		plans:   c.Counter("shard_plans_total", "Plans written by this process.", "group"),
		failed:  c.Counter("shard_plan_failures_total", "Rounds of planning whose assigner was not heeded or whose plan was not written.", "group"),
		moves:   c.Counter("shard_moves_total", "Shards that plans of this process have taken from a living member.", "group"),
		members: c.Gauge("shard_members", "Members of the group, as the planner knows them.", "group"),
		unowned: c.Gauge("shard_unowned", "Shards that nobody owns, as the planner knows it.", "group"),
		bare:    c.Gauge("shard_unowned_seconds", "For how long nobody has owned the shard for which that is longest.", "group"),
		moving:  c.Gauge("shard_moving", "Shards that are on their way from one member to another.", "group"),
		pending: c.Gauge("shard_pending", "Shards that are to move when others have moved.", "group"),
		size:    c.Gauge("shard_plan_bytes", "Size of the last plan.", "group"),
	}
}

// gauges are those that only the planner's process has.
func (s *shards) gauges() []*prometheus.GaugeVec {
	return []*prometheus.GaugeVec{s.members, s.unowned, s.bare, s.moving, s.pending, s.size}
}

func (s *shards) collectors() []prometheus.Collector {
	all := []prometheus.Collector{s.owned, s.wait, s.hold, s.losses, s.plans, s.failed, s.moves}
	for _, g := range s.gauges() {
		all = append(all, g)
	}
	return all
}

// Shard returns the observer for members of groups of shards. The label group is the
// group's name.
func (m *Metrics) Shard() shard.Observer {
	s := m.shards
	return shard.Observer{
		Acquired: func(e shard.Event) {
			s.owned.WithLabelValues(e.Group).Inc()
			s.wait.WithLabelValues(e.Group).Observe(e.Took.Seconds())
			for _, reason := range []string{shardLost, shardDrain, shardFunction} {
				s.losses.WithLabelValues(e.Group, reason)
			}
		},
		Released: func(e shard.Event) {
			s.owned.WithLabelValues(e.Group).Dec()
			s.hold.WithLabelValues(e.Group).Observe(e.Took.Seconds())
			if e.Err != nil {
				s.losses.WithLabelValues(e.Group, shardReason(e.Err)).Inc()
			}
		},
		Planned: s.planned,
		Retired: func(e shard.PlanEvent) {
			for _, g := range s.gauges() {
				g.DeleteLabelValues(e.Group)
			}
		},
	}
}

func shardReason(err error) string {
	switch {
	case errors.Is(err, shard.ErrDrainTimeout):
		return shardDrain
	case errors.Is(err, shard.ErrLost):
		return shardLost
	default:
		return shardFunction
	}
}

// planned notes a round of planning.
func (s *shards) planned(e shard.PlanEvent) {
	plans, failed := s.plans.WithLabelValues(e.Group), s.failed.WithLabelValues(e.Group)
	if e.Err != nil {
		failed.Inc()
	}
	if e.Written {
		plans.Inc()
		s.moves.WithLabelValues(e.Group).Add(float64(e.Moves))
		s.size.WithLabelValues(e.Group).Set(float64(e.Size))
	}
	s.members.WithLabelValues(e.Group).Set(float64(e.Members))
	s.unowned.WithLabelValues(e.Group).Set(float64(e.Unowned))
	s.bare.WithLabelValues(e.Group).Set(e.UnownedFor.Seconds())
	s.moving.WithLabelValues(e.Group).Set(float64(e.UnderWay))
	s.pending.WithLabelValues(e.Group).Set(float64(e.Pending))
}
