package main

import (
	"time"

	"github.com/conclave-go/conclave/examples/internal/cluster"
	"github.com/conclave-go/conclave/lock"
)

// kind says what an event is about.
type kind string

// What workers report.
const (
	ready     kind = "ready"     // it has a session; TTL
	waits     kind = "waits"     // it stands for election and is not first; Key
	elected   kind = "elected"   // its term has begun; Key, Token, Until
	leads     kind = "leads"     // its term goes on; Token, Until
	resigns   kind = "resigns"   // it is about to give up its term; Token
	transfers kind = "transfers" // it is about to give its term to another; Token
	refused   kind = "refused"   // it could not give its term to another and goes on; Token, Detail
	told      kind = "told"      // it was told that its term is lost; Token, Until, Detail
	wrote     kind = "wrote"     // the outcome of a write after that; Token, OK, Detail
	failed    kind = "failed"    // nobody can look on any more; Detail
)

// What the parent adds.
const (
	exited   kind = "exited"   // the process is gone; Detail unless it was asked to go
	enqueued kind = "enqueued" // etcd has the entry Key; Token
	dequeued kind = "dequeued" // etcd has it no more
	written  kind = "written"  // etcd has taken a leader's write; Token
	observed kind = "observed" // Observe yields another leader, or none; Worker, Token
	acted    kind = "acted"    // the parent did Detail to the worker
	pressed  kind = "pressed"  // the user pressed the key Detail
)

// event is one thing that happened, on a clock that all processes share.
type event struct {
	At     int64  `json:"at"`
	Worker string `json:"worker"`
	Kind   kind   `json:"kind"`

	PID    int           `json:"pid,omitempty"`
	TTL    time.Duration `json:"ttl,omitempty"`
	Key    string        `json:"key,omitempty"`
	Token  lock.Token    `json:"token,omitempty"`
	Until  int64         `json:"until,omitempty"` // the deadline, on the same clock
	OK     bool          `json:"ok,omitempty"`
	Detail string        `json:"detail,omitempty"`
}

// Time implements [workers.Event].
func (e event) Time() int64 { return e.At }

// job is what a worker is told on the first line of its standard input.
type job struct {
	Worker   string        `json:"worker"`
	Name     string        `json:"name"`     // of the election
	Resource string        `json:"resource"` // key that leaders write
	TTL      time.Duration `json:"ttl"`
	Etcd     cluster.Spec  `json:"etcd"`
}

// What a worker is asked by a line on its standard input while it leads.
const (
	askResign   = "resign"
	askTransfer = "transfer " // and to whom
)
