package main

import "strings"

// run is a model with bounds and switches.
type run struct {
	model string
	// defs are the bounds and switches, as the preprocessor gets them.
	defs []string
	// breaks is part of the assertion that has to be broken, without spaces; empty if
	// none may be.
	breaks string
	// what says, for people, what the run shows.
	what string
	// large runs are not for CI.
	large bool
}

func (r run) name() string { return strings.Join(r.defs, " ") }

// holds is a run of the protocol as it is.
func holds(model, bounds, what string) run {
	return run{model: model, defs: strings.Fields(bounds), what: what}
}

// large is holds with bounds that take minutes.
func large(model, bounds, what string) run {
	r := holds(model, bounds, what)
	r.large = true
	return r
}

// breaks is a run with a switch, the last of the definitions, that breaks an assertion.
func breaks(model, assertion, bounds, what string) run {
	r := holds(model, bounds, what)
	r.breaks = assertion
	return r
}

// runs returns all runs, those of a model together.
func runs() []run {
	var all []run
	for _, of := range [][]run{mutexRuns(), handoverRuns(), batchRuns(), leaseRuns(), semaphoreRuns(), handoffRuns(), transferRuns(), planRuns()} {
		all = append(all, of...)
	}
	return all
}

func mutexRuns() []run {
	const (
		one  = "SLOTS=1 LATE=0 "
		lags = one + "LAG=1 "
	)
	return []run{
		holds("mutex", "ROUNDS=1 CLIENTS=3 "+one, "three in the queue, one gives up"),
		holds("mutex", "LATE=1 CANCELS=1", "a request arrives late or never, one gives up, keys are used again"),
		holds("mutex", lags, "members lag behind"),
		holds("mutex", lags+"NO_LOOK", "events alone are enough while watches are healthy"),
		holds("mutex", lags+"DEAF=1 BROKEN=1", "a watch tells nothing, another is ended by the server"),
		holds("mutex", one+"WRITES=1", "a holder's transaction arrives late"),
		holds("mutex", one+"EXPIRIES=1 LEASES=2 ROUNDS=1", "a deadline passes at any time; the client goes on with another lease"),
		holds("mutex", one+"EARLY=1 OPERATOR=1 ROUNDS=1 LAG=1", "a lease is revoked early, an operator deletes a key"),
		holds("mutex", "LATE=1 OPERATOR=1 CANCELS=0 ROUNDS=1", "an operator deletes a key of which a put may arrive yet"),
		holds("mutex", "FOREIGN=1 ROUNDS=1 CANCELS=0", "another library uses the lease, and the first key"),
		large("mutex", "LATE=2 CANCELS=1", "two requests late"),
		large("mutex", one+"EXPIRIES=1 LEASES=2 ROUNDS=2 CANCELS=1", "a deadline passes in one of two rounds"),
		breaks("mutex", "owned&", "ROUNDS=1 CLIENTS=3 "+one+"NO_CHECK", "no wake-up check: the predecessor's deletion is taken for the own turn"),
		breaks("mutex", "done==", "SLOT_EARLY", "a key is used again before its deletion is confirmed"),
		breaks("mutex", "created[k]==0", "UNSETTLED_FORGOTTEN", "a key is used again while a put of it may arrive yet"),
		breaks("mutex", "created[k]==0", "NO_DOUBT", "what was given up is not looked for again"),
		breaks("mutex", "((0+0)+0)>0", "ORPHAN_UNGUARDED", "a look removes by key, without the revision that it has read"),
		breaks("mutex", "((0+0)+0)>0", "DELETE_UNGUARDED", "Unlock deletes by key"),
		breaks("mutex", "holding[i]==0", "ENDED_LATE", "the hold ends after its deletion, not before"),
		breaks("mutex", "done==", lags+"BY_NAME", "the predecessor is judged by its key, not by its create revision"),
		breaks("mutex", "created[k]!=mine", lags+"STALE_READ", "a serializable read is taken whatever its revision"),
		breaks("mutex", "done==", lags+"NO_LOOK NO_CREATED_READ", "no read when the watch begins after the put"),
		breaks("mutex", "done==", lags+"DEAF=1 NO_LOOK", "no look beside a watch that tells nothing"),
		breaks("mutex", "lateWrite", one+"WRITES=1 GUARD_BY_NAME", "the guard compares the key's existence"),
		breaks("mutex", "grants&", "FOREIGN=1 ROUNDS=1 CANCELS=0 NO_NONCE", "no nonce, beside a foreign writer on the lease"),
	}
}

// handoverRuns are those of the second and the third in the queue, who need no read.
func handoverRuns() []run {
	const (
		two   = "HANDOVER SLOTS=1 LATE=0 LAG=1 OPERATOR=1 CANCELS=0 "
		three = "HANDOVER SLOTS=1 LATE=0 CLIENTS=3 ROUNDS=1 "
		// The third knows the predecessor only.
		beside = three + "FEW=1 NEIGHBOURS "
	)
	return []run{
		holds("mutex", two, "hand-over without a read; members lag behind, an operator deletes"),
		holds("mutex", two+"EARLY=1 ROUNDS=1", "and a lease is revoked early"),
		holds("mutex", three+"CANCELS=1", "three in the queue, one gives up"),
		holds("mutex", three+"CANCELS=0 OPERATOR=1", "an operator deletes a key"),
		holds("mutex", beside+"CANCELS=1", "the third reads nothing but its own key when the second, of its process, has owned"),
		holds("mutex", beside+"CANCELS=0 OPERATOR=1", "and an operator deletes a key"),
		large("mutex", three+"CANCELS=1 LAG=1 OPERATOR=1", "all of these"),
		large("mutex", beside+"CANCELS=1 LAG=1 OPERATOR=1", "all of these, in one process"),
		breaks("mutex", "owned&", two+"OWN_NOT_READ", "the read at the watch's beginning leaves out the own key"),
		breaks("mutex", "owned&", two+"OWN_NOT_WATCHED", "the own key is not watched: the own deadline is trusted"),
		breaks("mutex", "owned&", two+"SEEN_FORGOTTEN", "events of revisions that were seen already count"),
		breaks("mutex", "owned&", three+"CANCELS=1 OPERATOR=1 HEAD_KEPT", "being the second outlives the entry that was"),
		breaks("mutex", "owned&", three+"CANCELS=1 HEAD_IGNORED", "the third takes the second's end for its turn"),
		breaks("mutex", "owned&", beside+"CANCELS=1 STRANGERS", "it does so whether the second has owned or not"),
	}
}

func batchRuns() []run {
	const short = "ROUNDS=1 CANCELS=0 LATE=0 EXPIRIES=1 "
	return []run{
		holds("batch", "ROUNDS=1", "a batch arrives late, one of it is given up"),
		holds("batch", short, "one of two leases ends"),
		large("batch", "ROUNDS=2 CANCELS=0", "two rounds"),
		breaks("batch", "owners&(1<<i)", "ROUNDS=1 CANCELS=0 LATE=0 ONE_NAME", "two operations for one name in a batch"),
		breaks("batch", "created[k]==0", "UNANSWERED_NOT_COUNTED", "a batch without an answer counts for nobody"),
		breaks("batch", "created[k]==0", "ONLY_FIRST_COUNTED", "it counts for the first of it only"),
		breaks("batch", "created[k]==0", "REFUSED_TAKEN_FOR_DONE", "the removals of a refused batch are taken for done"),
		breaks("batch", "done==", short+"LEASES_MIXED", "entries of two leases in a batch"),
	}
}

func leaseRuns() []run {
	return []run{
		holds("lease", "TTL=5", "two attempts under way at once, leaders deposed at any time, clocks at other rates"),
		large("lease", "TTL=8", "more ticks"),
		large("lease", "TTL=5 ATTEMPTS=3", "three attempts at once"),
		breaks("lease", "assert", "NO_LOOK", "no look after the acknowledgement"),
		breaks("lease", "assert", "LOOK_ASIDE", "the look is sent together with the keep-alive"),
		breaks("lease", "assert", "LOOK_LOCAL", "the look is answered without a quorum"),
		breaks("lease", "assert", "FROM_RECEIPT", "the deadline counts from the receipt"),
		breaks("lease", "assert", "FROM_LATEST", "the answer to one attempt is taken for that to a later one"),
		breaks("lease", "assert", "NO_ALLOWANCE", "no allowance for clock rates"),
		breaks("lease", "assert", "REVIVED", "an answer after the deadline revives the lease"),
		breaks("lease", "assert", "POLLED", "the deadline is polled, not timed"),
		breaks("lease", "assert", "STALLED_LEADER", "what S3 excludes: a leader that resumes and revokes live leases"),
	}
}

func semaphoreRuns() []run {
	const ones = "HEAVY=9 STAYS=1 CANCELS=0 "
	return []run{
		holds("semaphore", ones, "four who ask for one of two permits, one never gives it back"),
		holds("semaphore", ones+"LOSTMARKS=1 LOOK=1", "a mark is lost, a look makes up for it"),
		holds("semaphore", "CANCELS=0", "one asks for both permits"),
		holds("semaphore", "CLIENTS=3 EXPIRIES=1 TRIES=1", "a deadline passes, one does not wait, one gives up"),
		large("semaphore", "CANCELS=1", "one of four gives up"),
		large("semaphore", "TRIES=2", "two do not wait"),
		breaks("semaphore", "(sum+", ones+"NO_MARK", "who comes to own does not say so"),
		breaks("semaphore", "(sum+", ones+"PUTS_FILTERED", "watches leave out puts"),
		breaks("semaphore", "(sum+", ones+"LOSTMARKS=1", "a mark is lost, and no look makes up for it"),
		breaks("semaphore", "done==", "CANCELS=0 HEAD_WATCHES_ONE", "the first who waits watches one entry only"),
		breaks("semaphore", "done==", "CANCELS=0 NO_CREATED_READ", "no read when the watch begins after the put"),
		breaks("semaphore", "holding<=2", "CANCELS=0 OWN_WEIGHT_FORGOTTEN", "the own weight is not added"),
		breaks("semaphore", "holding<=2", "CLIENTS=3 TRIES=1 TRY_UNGUARDED", "TryAcquire owns although somebody has come between its read and its put"),
	}
}

func handoffRuns() []run {
	return []run{
		holds("handoff", "", "two goroutines and another process"),
		holds("handoff", "WAITERS=3 ROUNDS=1 MAX=2 OTHERS=2", "three goroutines, two hand-offs"),
		holds("handoff", "LINGER=1", "an entry lingers"),
		holds("handoff", "LINGER=1 TIMER=0 WRITES=1", "without end, until another process comes"),
		holds("handoff", "EXPIRIES=1 WRITES=1", "a deadline passes, a transaction has no answer"),
		large("handoff", "EXPIRIES=1 WRITES=1 LINGER=1 WAITERS=3", "all of these"),
		breaks("handoff", "sequence>lastSequence", "LINGER=1 SEQUENCE_KEPT", "no new sequence after lingering"),
		breaks("handoff", "entry==0", "TURN_LOST", "whoever is given the entry as ctx ends does not take it"),
		breaks("handoff", "entry!=write", "WRITES=1 HANDED_ON_EXPOSED", "handed on although a transaction may commit yet"),
		breaks("handoff", "passed<=", "ROUNDS=3 NO_MAXIMUM", "no end of hand-offs"),
		breaks("handoff", "done==", "RANGE_FIRST", "the queue is read before the old entry is deleted"),
		breaks("handoff", "done==", "LINGER=1 TIMER=0 NO_FIRST_READ", "no read when the watch for others begins"),
		breaks("handoff", "entry!=old", "EXPIRIES=1 DEADLINE_IGNORED", "handed on after the deadline"),
	}
}

func transferRuns() []run {
	return []run{
		holds("transfer", "CAMPAIGNS=1", "a transfer among three; its answer may be lost, one may leave"),
		holds("transfer", "CAMPAIGNS=1 EARLY=1", "the server ends a lease early"),
		large("transfer", "CAMPAIGNS=2", "everybody stands twice"),
		breaks("transfer", "owned&", "TARGET_NOT_COMPARED", "the candidate is not compared"),
		breaks("transfer", "leads[i]==0", "EARLY=1 OWN_NOT_COMPARED", "the leader is not compared"),
		breaks("transfer", "created[i]<token", "REMOVED_BY_KEY", "those ahead are removed by key"),
		breaks("transfer", "owned&", "JUDGED_BY_KEY", "the outcome is told by key, not by token"),
	}
}

func planRuns() []run {
	return []run{
		holds("plan", "PLANS=4", "two planners take turns; requests arrive late or never, planners die between two pieces; a piece that is there is kept"),
		holds("plan", "PLANS=3 LATE=1 OPERATOR=1", "an operator deletes a key"),
		holds("plan", "PLANS=4 PIECE_NOT_COMPARED", "what a late piece overwrites keeps another attempt from its head: no more"),
		large("plan", "PLANS=4 TERMS=3 LATE=2", "three terms, two late requests"),
		breaks("plan", "whole", "SAME_SLOT", "a plan is written where the last one is"),
		breaks("plan", "whole", "PLANS=4 EARLIER_NOT_COMPARED", "the pieces before may be another attempt's"),
		breaks("plan", "whole", "HEAD_NOT_COMPARED", "the head may have changed"),
		breaks("plan", "newest", "NO_TERM", "the term guards nothing"),
		breaks("plan", "mixed", "KEPT_UNREAD", "a piece is kept whatever text it has"),
		breaks("plan", "mixed", "PLANS=3 LATE=1 OPERATOR=1 NOT_NAMED", "the head names no revisions: pieces count that are there"),
	}
}
