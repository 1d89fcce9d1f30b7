package capacity

import (
	"context"
	"fmt"
	"time"

	"github.com/conclave-go/conclave/lock"
)

// holds are mutexes of different names that one session holds.
func holds(largest int) load {
	return load{
		name: holdLoad, largest: largest,
		probed: "lock of one name more",
		begin: func(ctx context.Context, r *rig) (crowd, error) {
			s, err := r.ownSession(ctx)
			if err != nil {
				return crowd{}, err
			}
			held := make([]*lock.Hold, largest)
			another, err := lock.NewMutex(s, "another")
			return crowd{
				add: func(ctx context.Context, i int) error {
					m, err := lock.NewMutex(s, fmt.Sprintf("held/%06d", i))
					if err != nil {
						return err
					}
					held[i], err = m.Lock(ctx)
					return err
				},
				probe: func(ctx context.Context) (time.Duration, error) {
					begun := time.Now()
					h, err := another.Lock(ctx)
					if err != nil {
						return 0, err
					}
					return time.Since(begun), h.Unlock(ctx)
				},
			}, err
		},
	}
}
