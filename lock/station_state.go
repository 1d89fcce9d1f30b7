package lock

import (
	"context"
	"time"

	"github.com/conclave-go/conclave/internal/queue"
)

// stationState is what a station does:
//
//	          somebody comes             etcd grants it
//	vacant ────────────────► acquiring ────────────────► held ◄──┐ the next waiter
//	  ▲  ▲                    │    ▲                     │ │ └────┘ gets it
//	  │  │ all have left      │    │ hand-offs used up   │ │
//	  │  └────────────────────┘    └─────────────────────┘ │ nobody waits
//	  │ over, wanted elsewhere, or lost                    ▼
//	  └──────────────────────────────────────────────── lingering ──► held, when somebody comes
//
// From held it also becomes vacant: at a loss, and when nobody waits and nothing lingers.
type stationState int

const (
	// vacant: this process has no entry.
	vacant stationState = iota
	// acquiring: a goroutine of the station's, or of a TryLock, waits in etcd for whoever
	// is first.
	acquiring
	// held: somebody has the entry.
	held
	// lingering: the entry is kept for nobody.
	lingering
)

// becomeVacant, becomeAcquiring, becomeHeld and becomeLingering are all that changes the
// state. mu must be held.
func (s *station) becomeVacant() { s.become(vacant) }

func (s *station) becomeAcquiring(stop context.CancelFunc) {
	s.become(acquiring)
	s.stop = stop
}

func (s *station) becomeHeld(g *queue.Grant) {
	s.become(held)
	s.grant = g
}

func (s *station) becomeLingering(g *queue.Grant, timer *time.Timer) {
	s.become(lingering)
	s.grant, s.timer = g, timer
}

// become changes the state and leaves nothing of the one before.
func (s *station) become(state stationState) {
	if s.timer != nil {
		s.timer.Stop()
	}
	s.state, s.stop, s.grant, s.timer = state, nil, nil, nil
}
