package election_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/election"
	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lease"
)

// The next attempt reaches another member.
func TestRunHandsOverAlthoughTheFirstMemberAskedRefusesOrHasVanished(t *testing.T) {
	t.Parallel()
	for member, fails := range etcdtest.Setbacks() {
		t.Run(member, func(t *testing.T) {
			t.Parallel()
			vtime.Run(t, func(t *testing.T, s *vtime.Server) {
				var rec etcdtest.Recorder
				e := newVirtualElection(t, s.Client(vtime.WithDialOptions(rec.DialOptions()...)), 20*time.Second)
				ctx, cancel := context.WithCancel(anHour(t))
				called := func() bool { return false }
				var done time.Time
				_ = e.Run(ctx, "a", func(context.Context, *election.Term) error {
					_, called = rec.HookFirst("Txn", fails)
					done = time.Now()
					cancel()
					return nil
				})
				require.True(t, called())
				require.Less(t, time.Since(done), lease.DefaultGrace)
				requireCandidates(t, s)
			})
		})
	}
}
