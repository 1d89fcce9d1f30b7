package shard

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"
)

// assignTimeout is how long the planner waits for its assigner: a thousand times what
// [Balanced] takes for a group of the largest size.
const assignTimeout = 5 * time.Second

// errAssigning says that the assigner has not returned in time, now or when it was called
// before. It is not called again until it has.
var errAssigning = fmt.Errorf("shard: assigner has not returned within %v", assignTimeout)

// consult returns the member's assigner, called in a goroutine of its own, so that one that
// hangs does not keep the planner from planning. While one call has not returned there is no
// other.
func (m *Member) consult(ctx context.Context) Assigner {
	return AssignFunc(func(in Input) (Plan, error) {
		select {
		case m.consulting <- struct{}{}:
		default:
			return Plan{}, errAssigning
		}
		type answer struct {
			plan Plan
			err  error
		}
		answers := make(chan answer, 1)
		m.work.Go(func() { // ends when the assigner returns, or with it
			a := answer{err: errGoexit}
			defer func() {
				<-m.consulting
				answers <- a
			}()
			a.plan, a.err = assign(m.cfg.assigner, in)
		})
		timer := time.NewTimer(assignTimeout)
		defer timer.Stop()
		select {
		case a := <-answers:
			return a.plan, a.err
		case <-timer.C:
			return Plan{}, errAssigning
		case <-ctx.Done():
			return Plan{}, context.Cause(ctx)
		}
	})
}

// assign calls an assigner, and returns its panic as an error.
func assign(by Assigner, in Input) (p Plan, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	return by.Assign(in)
}
