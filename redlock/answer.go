package redlock

import (
	"fmt"
	"time"
)

// answer is what came of asking one node.
type answer struct {
	state NodeState
	err   error         // for the states refused and failed
	owner string        // for locked: whose key it is
	left  time.Duration // for locked: until it expires for certain, 0 if it does not
}

// acquired reads the reply of acquireScript.
func acquired(reply any, err error, minUptime time.Duration) answer {
	switch r := reply.(type) {
	case int64:
		switch {
		case r == 1:
			return answer{state: NodeGranted}
		case r == 0:
			return answer{state: NodeFailed, err: errGivenUp}
		case r < 0:
			return answer{state: NodeRefused, err: &UptimeError{Uptime: time.Duration(-1-r) * time.Second, Min: minUptime}}
		}
	case []any:
		if len(r) == 2 {
			left, number := r[0].(int64)
			owner, text := r[1].(string)
			if number && text {
				return answer{state: NodeLocked, left: time.Duration(left+1) * time.Millisecond, owner: owner}
			}
		}
	}
	return failed(reply, err)
}

// released reads the reply of releaseScript. mute is why waiters were not told, empty if
// they were.
func released(reply any, err error) (a answer, mute string) {
	if why, ok := reply.(string); ok && err == nil {
		return answer{state: NodeGranted}, why
	}
	return denied(reply, err), ""
}

// denied is the state for each reply of extendScript and releaseScript but 1.
func denied(reply any, err error) answer {
	switch reply {
	case int64(1):
		return answer{state: NodeGranted}
	case int64(0):
		return answer{state: NodeMissing}
	case int64(-1):
		return answer{state: NodeLocked}
	}
	return failed(reply, err)
}

func failed(reply any, err error) answer {
	if err == nil {
		err = fmt.Errorf("unexpected reply %v", reply)
	}
	return answer{state: NodeFailed, err: err}
}

// tally counts the answers of each state.
type tally struct{ granted, locked, missing, refused, failed, pending int }

func count(all []answer) tally {
	var t tally
	for _, a := range all {
		switch a.state {
		case NodeGranted:
			t.granted++
		case NodeLocked:
			t.locked++
		case NodeMissing:
			t.missing++
		case NodeRefused:
			t.refused++
		case NodeFailed:
			t.failed++
		default:
			t.pending++
		}
	}
	return t
}

// denials are the nodes that say they do not have the key.
func (t tally) denials() int { return t.locked + t.missing }

// judge says whether answers decide a round: nothing that is still to come could change
// what is made of it.
type judge func(t tally, quorum int) bool

// An acquisition is decided by a quorum, or once there can be none.
func judgeAcquire(t tally, quorum int) bool {
	return t.granted >= quorum || t.granted+t.pending < quorum
}

// So is an extension or a release; but what is made of a failed one depends on whether
// nodes denied it or did not answer.
func judgeExtend(t tally, quorum int) bool {
	return t.granted >= quorum || t.pending == 0 || lost(t, quorum)
}

// lost reports whether no quorum can have the key, whatever the other nodes say.
func lost(t tally, quorum int) bool {
	nodes := t.granted + t.locked + t.missing + t.refused + t.failed + t.pending
	return t.denials() > nodes-quorum
}
