package history

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
)

// Kind says what an event is about.
type Kind string

// What workers report.
const (
	Ready     Kind = "ready"     // it is connected
	Wants     Kind = "wants"     // it asks for the lock
	Granted   Kind = "granted"   // it has the lock; Hold, Call, Token, Key, Until
	Valid     Kind = "valid"     // the hold said so at a moment not before At; Until
	Told      Kind = "told"      // it was told that it lost the lock; Until, Detail
	Reached   Kind = "reached"   // it waits at a Point
	Releasing Kind = "releasing" // it is about to give the lock up; Until
	Released  Kind = "released"  // it has; OK, Call
	Wrote     Kind = "wrote"     // a write returned; Way, Call, Value, Found, OK, Detail
	Read      Kind = "read"      // a read returned; Way, Call, Value
	Phantom   Kind = "phantom"   // it was granted the lock with an entry that is not there
	Failed    Kind = "failed"    // a call failed, which says nothing; Detail
)

// What others report.
const (
	Judged Kind = "judged" // the resource accepted a write, or not; Way, Found, Value, Was, OK
	Entry  Kind = "entry"  // etcd has the key Key of the lock; Revision
	Gone   Kind = "gone"   // etcd has it no more; Revision
	Stored Kind = "stored" // etcd has a write; Way, Revision, Value, Found, Hold, Token
	Gap    Kind = "gap"    // what etcd has to say was lost; Detail
	Begun  Kind = "begun"  // a fault begins; Fault, Worker if it is one's, Detail
	Ended  Kind = "ended"  // it is over
	Died   Kind = "died"   // a holder is as good as dead; Worker, Hold
	Exited Kind = "exited" // a process is gone; Detail unless it was killed, or ended in good order when it was told to
	Left   Kind = "left"   // a worker has left the specification; Worker, Detail
	Broken Kind = "broken" // the lab could not go on; Detail
)

// Way is how a write to the resource is protected.
type Way string

// The ways.
const (
	Unguarded Way = "unguarded" // by nothing but the lock
	Deadline  Way = "deadline"  // by a look at the hold and its deadline before it
	Fenced    Way = "fenced"    // by the token, which the resource checks
	Txn       Way = "txn"       // by the token, in a transaction of etcd
	Plain     Way = "plain"     // by nothing but the lock, in etcd
)

// Event is one thing that happened. Which of the fields are set depends on its kind.
type Event struct {
	// At is when, in nanoseconds of a clock that all processes share.
	At   int64 `json:"at"`
	Kind Kind  `json:"kind"`
	// Lock is which lock it is about.
	Lock   string `json:"lock,omitempty"`
	Worker string `json:"worker,omitempty"`
	PID    int    `json:"pid,omitempty"`
	// Hold names one acquisition.
	Hold string `json:"hold,omitempty"`
	// Call is when the call began that returned at At.
	Call  int64  `json:"call,omitempty"`
	Token int64  `json:"token,omitempty"`
	Key   string `json:"key,omitempty"`
	// Until is the deadline of the hold as it stood, not later than it was.
	Until int64  `json:"until,omitempty"`
	Point string `json:"point,omitempty"`

	Way Way `json:"way,omitempty"`
	// Value was written or read, Found is what the writer had read before, and Was
	// what the write replaced.
	Value int64 `json:"value,omitempty"`
	Found int64 `json:"found,omitempty"`
	Was   int64 `json:"was,omitempty"`
	OK    bool  `json:"ok,omitempty"`

	Revision int64  `json:"revision,omitempty"`
	Fault    string `json:"fault,omitempty"`
	Detail   string `json:"detail,omitempty"`
}

// Write writes events as lines of JSON.
func Write(w io.Writer, events []Event) error {
	out := json.NewEncoder(w)
	for _, e := range events {
		if err := out.Encode(e); err != nil {
			return fmt.Errorf("history: %w", err)
		}
	}
	return nil
}

// ReadAll reads what [Write] has written.
func ReadAll(r io.Reader) ([]Event, error) {
	in := json.NewDecoder(bufio.NewReader(r))
	var events []Event
	for {
		var e Event
		switch err := in.Decode(&e); err {
		case nil:
			events = append(events, e)
		case io.EOF:
			return events, nil
		default:
			return events, fmt.Errorf("history: event %d: %w", len(events)+1, err)
		}
	}
}
