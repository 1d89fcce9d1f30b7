package watchlab

import (
	"fmt"
	"strings"
	"time"
)

// Report is what came of a bout.
type Report struct {
	Plan     Plan
	Findings []Finding
	Tally    Tally
	Took     time.Duration
	Journal  string
}

func (l *lab) report() *Report {
	r := &Report{Plan: l.plan, Findings: l.journal.findings, Took: time.Since(l.journal.began), Journal: l.journal.text()}
	if l.truth != nil {
		r.Tally = l.tally.tally(l.truth.revision())
	}
	return r
}

// Failed reports whether something was found.
func (r *Report) Failed() bool { return len(r.Findings) > 0 }

// Text tells who was there, what happened and what was found.
func (r *Report) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v\n\n%s\n\n%d findings with seed %d:\n", r.Plan, r.Journal, len(r.Findings), r.Plan.Seed)
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "  %v\n", f)
	}
	fmt.Fprintf(&b, "again: %s=1 %s=%d go test -count=1 -run %s ./internal/chaos/watchlab\n", BoutsVariable, SeedVariable, r.Plan.Seed, testName)
	return b.String()
}

// testName is the test that plays bouts.
const testName = "TestWatchesTellTheTruthUnderFaults"

// String lists who is there and what comes.
func (p Plan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d: %d members, %d writers, values of up to %d bytes", p.Seed, p.Members, p.Writers, p.Value)
	if p.TokenTTL > 0 {
		fmt.Fprintf(&b, ", tokens of %v", p.TokenTTL)
	}
	for i, peer := range p.Peers {
		fmt.Fprintf(&b, "\npeer %d: %d B/s, %v, messages of %d bytes, in a namespace %v", i, peer.Rate, peer.Delay, peer.Limit, peer.Inside)
		for k, s := range peer.Streams {
			fmt.Fprintf(&b, "\n  stream %d.%d: %+v", i, k, s)
		}
		for k, c := range peer.Caches {
			fmt.Fprintf(&b, "\n  cache %d.%d: %+v", i, k, c)
		}
		for _, f := range peer.Foreign {
			fmt.Fprintf(&b, "\n  foreign: %+v", f)
		}
	}
	for i, r := range p.Rounds {
		fmt.Fprintf(&b, "\nround %d: %d writes, up to %v apart", i, r.Writes, r.Pause)
		if r.Through.Fault != "" {
			fmt.Fprintf(&b, "\n  %v of member %d, until all are there", r.Through.Fault, r.Through.Member)
		}
		for _, s := range r.Strikes {
			fmt.Fprintf(&b, "\n  %v", s)
		}
		for _, v := range r.Visits {
			fmt.Fprintf(&b, "\n  visit: %+v", v)
		}
	}
	if p.Storm {
		b.WriteString("\neverybody leaves during a fault")
	}
	return b.String()
}

// The environment variables of the test that plays bouts.
const (
	// BoutsVariable is how many.
	BoutsVariable = "CONCLAVE_WATCHLAB"
	// SeedVariable is the seed of the first; each has the seed after that of the one before.
	SeedVariable = "CONCLAVE_WATCHLAB_SEED"
)
