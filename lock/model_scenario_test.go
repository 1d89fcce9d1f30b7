package lock_test

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"pgregory.net/rapid"
)

// action is something that a client or an operator does in a step.
type action struct {
	Do     string
	Client int
	// Pick chooses among the acquisitions that the action could be about.
	Pick  int
	After time.Duration
}

// step is some actions at about the same time, possibly while a client is cut off.
type step struct {
	Actions []action
	Outage  *outage
}

type outage struct {
	Client int
	Way    int
	Lasts  time.Duration
}

// GoString is what rapid prints.
func (s step) GoString() string {
	out := make([]string, 0, len(s.Actions))
	for _, a := range s.Actions {
		out = append(out, fmt.Sprintf("%v: %d %s #%d", a.After, a.Client, a.Do, a.Pick))
	}
	if o := s.Outage; o != nil {
		out = append(out, fmt.Sprintf("%d cut %s for %v", o.Client, cutWays[o.Way].Name, o.Lasts))
	}
	return "\n\t" + strings.Join(out, ", ")
}

// scenario is what rapid draws, and shrinks if it fails.
type scenario struct {
	Drag  uint64
	Steps []step
}

func drawScenario(t *rapid.T) scenario {
	return style{
		clients: modelClients, actions: 4, after: 200, outages: 5, steps: 10, chapters: 10,
		do: []string{
			"lock", "lock", "lock", "unlock", "unlock", "relock", "cancel", "try", "unlock and leave",
			"delete", "revoke", "close", "lock, ctx done",
		},
	}.draw(t)
}

// style is what scenarios are drawn from.
type style struct {
	clients, actions int
	after            int // milliseconds between two actions at the most
	outages          int // one in so many steps has one
	steps, chapters  int
	do               []string
}

func (x style) draw(t *rapid.T) scenario {
	millis := func(most int) *rapid.Generator[time.Duration] {
		return rapid.Map(rapid.IntRange(0, most), func(ms int) time.Duration { return time.Duration(ms) * time.Millisecond })
	}
	client := rapid.IntRange(0, x.clients-1)
	actions := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) action {
		return action{
			Do:     rapid.SampledFrom(x.do).Draw(t, "do"),
			Client: client.Draw(t, "client"),
			Pick:   rapid.IntRange(0, 7).Draw(t, "pick"),
			After:  millis(x.after).Draw(t, "after"),
		}
	}), 1, x.actions)
	outages := rapid.Custom(func(t *rapid.T) *outage {
		if rapid.IntRange(0, x.outages-1).Draw(t, "outage") < x.outages-1 {
			return nil
		}
		return &outage{
			Client: client.Draw(t, "client"),
			Way:    rapid.IntRange(0, len(cutWays)-1).Draw(t, "way"),
			Lasts:  millis(int(2*modelTTL/time.Millisecond)).Draw(t, "lasts"),
		}
	})
	steps := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
		return step{actions.Draw(t, "actions"), outages.Draw(t, "outage")}
	}), 1, x.steps)
	// Slices of slices, because rapid prefers slices of about six elements.
	chapters := rapid.SliceOfN(steps, 1, x.chapters).Draw(t, "steps")
	return scenario{rapid.Uint64Range(0, 1<<20).Draw(t, "drag"), slices.Concat(chapters...)}
}
