package leases

import (
	"errors"
	"sync"
	"sync/atomic"
)

// each does n things, many at a time, and returns all errors.
func each(n int, do func(i int) error) error {
	var next atomic.Int64
	var all sync.WaitGroup
	errs := make([]error, min(n, makers))
	for w := range errs {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := do(i); err != nil {
					errs[w] = err
					return
				}
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}
