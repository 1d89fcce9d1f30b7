package main

import (
	"fmt"

	"github.com/conclave-go/conclave/internal/process"
)

// acts returns what the options ask for.
func (o *options) acts() []act {
	lib := conclave
	if o.official {
		lib = official
	}
	var acts []act
	add := func(wanted bool, a act) {
		if wanted {
			acts = append(acts, a)
		}
	}
	add(o.run, o.runAct(lib))
	add(o.crash, crashAct(lib))
	add(o.pause, pauseAct(lib))
	add(o.partition, partitionAct(lib))
	switch {
	case len(acts) > 0:
		return acts
	case o.official:
		return []act{o.runAct(lib)}
	}
	return o.tour()
}

// tour is a bit of everything.
func (o *options) tour() []act {
	same := o.runAct(official)
	same.intro = "The same with etcd's own clientv3/concurrency, to compare."
	acts := []act{o.runAct(conclave), same, crashAct(conclave)}
	if process.CanPause {
		acts = append(acts, pauseAct(conclave))
	}
	same = partitionAct(official)
	same.intro = "The same with clientv3/concurrency, where luck decides: up to two tries."
	return append(acts, partitionAct(conclave), same)
}

func (o *options) runAct(lib library) act {
	return act{
		name: string(lib), library: lib, play: playRun,
		intro: fmt.Sprintf("%d processes hand a lock to each other; each keeps it for %s.", o.workers, o.hold),
	}
}

func crashAct(lib library) act {
	return act{
		name: string(lib) + ", killed", library: lib, writes: true, play: playCrash,
		intro: "The holder is killed: the next takes over when its lease has ended.",
	}
}

func pauseAct(lib library) act {
	return act{
		name: string(lib) + ", stopped", library: lib, writes: true, play: playPause,
		intro: "The holder is stopped past its TTL: what it writes on waking is refused.",
	}
}

func partitionAct(lib library) act {
	a := act{
		name: string(lib) + ", cut off", library: lib, writes: true, proxied: true, play: playPartition,
		intro: "The holder is cut off: it is told before its successor is granted.",
	}
	if lib == official {
		a.intro = "The holder is cut off: whether it is told in time is luck. Up to two tries."
	}
	return a
}
