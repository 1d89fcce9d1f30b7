package lease

import "time"

// Observer holds optional callbacks about what a session does, for metrics and
// traces; nil ones are skipped. They are called synchronously by the goroutine
// that does the work, so they have to be quick and must not call back into the
// session.
type Observer struct {
	// Renewed is called after each confirmed renewal, with the time it took
	// from sending the renewal to its confirmation.
	Renewed func(l *Lease, took time.Duration)
	// Lost is called when a lease has ended without having been closed. cause
	// wraps [ErrLost].
	Lost func(l *Lease, cause error)
	// Waiting is called when an acquisition starts to wait for another entry.
	Waiting func(e Event)
	// Granted is called when an acquisition has succeeded.
	Granted func(e Event)
	// Released is called when a hold has ended, however it did.
	Released func(e Event)
}

// Event is what happened to an acquisition of a lock or an election.
type Event struct {
	// Kind is the primitive: "mutex", "election" and so on.
	Kind string
	// Name is the name of the lock or election.
	Name string
	// Key is the acquisition's own key in etcd.
	Key string
	// Predecessor is the key that a waiting acquisition waits for; empty if it has
	// yet to find out, after the reply to its own request was lost.
	Predecessor string
	// Revision is the create revision of Key.
	Revision int64
	// Took is how long the acquisition has waited when granted, and how long it
	// was held when released.
	Took time.Duration
	// Err says, for Released, why the hold ended if it was not given up.
	Err error
}
