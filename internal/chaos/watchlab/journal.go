package watchlab

import (
	"fmt"
	"strings"
	"sync"
	"time"
)

// Finding is something that must not be.
type Finding struct {
	Check Check
	Who   string
	What  string
	At    time.Duration // since the bout began
}

// String is the finding in a line.
func (f Finding) String() string {
	return fmt.Sprintf("%v: %s: %s (after %v)", f.Check, f.Who, f.What, f.At.Round(time.Millisecond))
}

// Check is what was found wrong.
type Check string

// The checks.
const (
	Events    Check = "events"     // each once, in order, whole revisions
	Snapshots Check = "snapshot"   // the state at one revision
	Resyncs   Check = "resync"     // the difference of two states
	Revisions Check = "revision"   // grows, and is not above the store's
	Early     Check = "early"      // WaitRevision before its time
	Stuck     Check = "stuck"      // what must come to an end and does not
	Errors    Check = "error"      // that is not one of those promised
	After     Check = "after"      // something after the error
	Changes   Check = "changes"    // of a key, in order, to the state there is
	Runs      Check = "reconcile"  // one at a time, and for the last state
	Routines  Check = "goroutines" // that are left
	Watches   Check = "streams"    // of gRPC that are left
)

// journal is what has happened, and what was found.
type journal struct {
	began time.Time

	mu       sync.Mutex
	lines    []string
	findings []Finding
}

// mostFindings is how many are kept: the first tell most.
const mostFindings = 20

func (j *journal) note(format string, args ...any) {
	at := time.Since(j.began).Round(time.Millisecond)
	line := fmt.Sprintf("%8v  ", at) + fmt.Sprintf(format, args...)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, line)
}

func (j *journal) find(check Check, who, format string, args ...any) {
	f := Finding{Check: check, Who: who, What: fmt.Sprintf(format, args...), At: time.Since(j.began)}
	j.note("FOUND %v", f)
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.findings) < mostFindings {
		j.findings = append(j.findings, f)
	}
}

// found reports whether something was found.
func (j *journal) found() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.findings) > 0
}

func (j *journal) text() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Join(j.lines, "\n")
}
