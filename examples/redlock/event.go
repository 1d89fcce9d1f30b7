package main

import "time"

// kind says what an event is about.
type kind string

// What workers report.
const (
	ready    kind = "ready"    // it has its clients
	wants    kind = "wants"    // it is about to ask for the lock
	granted  kind = "granted"  // it has the lock; Until
	checked  kind = "checked"  // it has asked its hold whether it may write; OK
	wrote    kind = "wrote"    // it has written to the ledger
	released kind = "released" // it is about to give the lock up; Until
	extended kind = "extended" // Extend has returned; Took, OK, Detail if it failed
	unlocked kind = "unlocked" // Unlock has returned; Took, Detail if it failed
	lost     kind = "lost"     // it was told that it lost the lock; Until, Detail
	rests    kind = "rests"    // it asks no more
)

// What the parent adds.
const (
	exited kind = "exited" // the process is gone; Detail unless it was asked to go
	acted  kind = "acted"  // the parent did Detail to the worker
)

// event is one thing that happened, on a clock that all processes share.
type event struct {
	At     int64  `json:"at"`
	Worker string `json:"worker"`
	Kind   kind   `json:"kind"`

	PID    int           `json:"pid,omitempty"`
	Until  int64         `json:"until,omitempty"` // when the hold ends or ended, as it says itself
	Took   time.Duration `json:"took,omitempty"`
	OK     bool          `json:"ok,omitempty"`
	Detail string        `json:"detail,omitempty"`
}

// Time implements [workers.Event].
func (e event) Time() int64 { return e.At }

// is reports whether e is of a kind and of a worker.
func (e event) is(k kind, worker string) bool { return e.Kind == k && e.Worker == worker }

// job is what a worker is told on the first line of its standard input.
type job struct {
	Worker    string        `json:"worker"`
	Name      string        `json:"name"`   // of the lock
	Ledger    string        `json:"ledger"` // file that holders write to
	TTL       time.Duration `json:"ttl"`
	Hold      time.Duration `json:"hold"`
	MinUptime time.Duration `json:"min_uptime"` // 0 for none
	Nodes     []string      `json:"nodes"`
	Via       []string      `json:"via"` // where each node is dialled instead, if not empty
}

// What a worker is asked by a line on its standard input. At first it rests.
const (
	askOnce = "once" // take the lock once
	askOn   = "on"   // take it again and again
	askRest = "rest" // take it no more
	askStay = "stay" // take it once, and keep it

	// What one is asked that keeps the lock.
	askCheck  = "check" // ask the hold; if it is good, write at the next line
	askWrite  = "write"
	askExtend = "extend"
	askUnlock = "unlock"
)
