package worker

import (
	"context"
	"time"
)

// refusedPause is how soon what was refused is asked again.
const refusedPause = 10 * time.Millisecond

// beside does something again beside what takes longer than patience, or failed, until one
// attempt succeeds or ctx ends, and says how many there were.
func beside[T any](ctx context.Context, patience time.Duration, do func(context.Context) (T, error)) (got T, attempts int, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type answer struct {
		got T
		err error
	}
	answers := make(chan answer)
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			attempts++
			go func() { // ends with ctx at the latest
				v, err := do(ctx)
				select {
				case answers <- answer{v, err}:
				case <-ctx.Done():
				}
			}()
			t.Reset(patience)
		case a := <-answers:
			if a.err == nil {
				return a.got, attempts, nil
			}
			err = a.err
			t.Reset(min(patience, refusedPause))
		case <-ctx.Done():
			if err == nil {
				err = ctx.Err()
			}
			return got, attempts, err
		}
	}
}
