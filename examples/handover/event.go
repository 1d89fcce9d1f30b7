package main

import (
	"time"

	"github.com/conclave-go/conclave/examples/internal/cluster"
)

// kind says what an event is about.
type kind string

// What workers report.
const (
	ready    kind = "ready"    // it has a session; TTL
	wants    kind = "wants"    // it is about to ask for the lock
	waits    kind = "waits"    // its entry is in the queue; Key
	granted  kind = "granted"  // it has the lock; Key, Token, Stays, Until
	keeps    kind = "keeps"    // it still has it; Until
	released kind = "released" // it is about to give the lock up
	lost     kind = "lost"     // it was told that it no longer has the lock; Detail, Until
	wrote    kind = "wrote"    // a write after the loss, or one that was refused; OK, Detail
	counts   kind = "counts"   // RPCs and Acquisitions so far
)

// What the parent adds.
const (
	exited   kind = "exited"   // the process is gone; Detail unless it was asked to go
	enqueued kind = "enqueued" // etcd has the entry Key; Revision
	dequeued kind = "dequeued" // etcd has it no more
	acted    kind = "acted"    // the parent did Detail to the worker
)

// event is one thing that happened, on a clock that all processes share.
type event struct {
	At     int64  `json:"at"`
	Worker string `json:"worker"`
	Kind   kind   `json:"kind"`

	PID          int            `json:"pid,omitempty"`
	TTL          time.Duration  `json:"ttl,omitempty"`
	Key          string         `json:"key,omitempty"`
	Token        string         `json:"token,omitempty"`
	Stays        bool           `json:"stays,omitempty"`
	Until        int64          `json:"until,omitempty"` // the deadline, on the same clock; 0 if the library tells none
	OK           bool           `json:"ok,omitempty"`
	Revision     int64          `json:"revision,omitempty"`
	Detail       string         `json:"detail,omitempty"`
	Acquisitions int            `json:"acquisitions,omitempty"`
	RPCs         map[string]int `json:"rpcs,omitempty"`
}

// Time implements [workers.Event].
func (e event) Time() int64 { return e.At }

// job is what a worker is told on the first line of its standard input.
type job struct {
	Worker   string        `json:"worker"`
	Library  library       `json:"library"`
	Name     string        `json:"name"`     // of the lock
	Resource string        `json:"resource"` // key for guarded writes; "" for none
	TTL      time.Duration `json:"ttl"`
	Hold     time.Duration `json:"hold"`
	Etcd     cluster.Spec  `json:"etcd"`
}

// library is whose lock a worker uses.
type library string

const (
	conclave library = "conclave"
	official library = "clientv3/concurrency"
)

// stay is the line that asks a worker to keep the lock when it has it next.
const stay = "stay"
