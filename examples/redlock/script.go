package main

import (
	"fmt"

	"github.com/conclave-go/conclave/internal/process"
)

// acts returns what the options ask for: everything if they ask for nothing.
func (o *options) acts(s *servers) []act {
	tour := !o.run && !o.crash && !o.hang && !o.restart && !o.jump && !o.pause
	var acts []act
	add := func(wanted bool, a act) {
		if wanted || tour {
			acts = append(acts, a)
		}
	}
	add(o.run, o.runAct())
	add(o.crash, act{
		name: "nodes killed", proxied: true, play: playCrash,
		intro: "Nodes are killed: the lock holds, and works as long as a majority lives.",
	})
	add(o.hang, act{
		name: "nodes hang", proxied: true, play: playHang,
		intro: "Nodes hang: that costs the node timeout, when their vote is needed.",
	})
	add(o.restart, act{
		name: "node restarted empty", breaks: true, proxied: true, play: playRestart,
		intro: "A node comes back without its keys, and votes at once.",
	})
	if !s.elsewhere() {
		add(o.restart, act{
			name: "the same, WithMinUptime", proxied: true, young: true, play: playRestart,
			intro: "The same WithMinUptime: nodes have no vote until they forgot nothing.",
		})
	}
	add(o.jump, act{
		name: "clocks jump", breaks: true, play: playJump,
		intro: "The clocks of a majority jump: keys expire that the holder relies on.",
	})
	if process.CanPause {
		add(o.pause, act{
			name: "holder stopped", breaks: true, play: playPause,
			intro: "The holder is stopped past its TTL between a look at its Hold and a write.",
		})
	}
	return acts
}

func (o *options) runAct() act {
	return act{
		name: "hand-over", play: o.playRun,
		intro: fmt.Sprintf("%d processes hand a lock to each other; each keeps it for %s.", o.workers, o.hold),
	}
}
