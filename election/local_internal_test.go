package election

import (
	"context"
	"fmt"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/inside"
	"github.com/conclave-go/conclave/internal/peertest"
	"github.com/conclave-go/conclave/lease"
)

// A program may have an election for each of any number of things.
func TestASessionKeepsNothingOfElectionsThatItIsDoneWith(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	prefix, ctx := c.Prefix(t), peertest.Guarded(t)
	s, err := lease.NewSession(ctx, c.Client(t), lease.WithTTL(peertest.Calm))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close(context.Background())) })
	kept := func() (n int) {
		runtime.GC()
		inside.Of(s).Shared().Range(func(key, _ any) bool {
			if _, ok := key.(localKey); ok {
				n++
			}
			return true
		})
		return n
	}
	for i := range 3 {
		e, err := New(s, fmt.Sprint(prefix, i))
		require.NoError(t, err)
		term, err := e.Campaign(ctx, "a")
		require.NoError(t, err)
		require.NoError(t, term.Resign(ctx))
	}
	peertest.Eventually(t, func() bool { return kept() == 0 }, "nothing is kept")

	e, err := New(s, prefix+"led")
	require.NoError(t, err)
	term, err := e.Campaign(ctx, "a")
	require.NoError(t, err)
	key, revision := term.Key(), term.Token().Revision()
	for range 3 {
		require.Equal(t, 1, kept(), "a term lasts, though the program refers to neither")
	}
	again, err := New(s, prefix+"led")
	require.NoError(t, err)
	found, err := again.Resume(ctx, key, revision)
	require.NoError(t, err)
	require.NoError(t, found.Resign(ctx))
}
