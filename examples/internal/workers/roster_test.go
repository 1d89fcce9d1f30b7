package workers_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/examples/internal/workers"
)

// known is what is known of a worker.
type known struct {
	name string
	busy bool
}

func (k *known) isBusy() bool { return k.busy }

func TestRosterKnowsThoseThatWereNamed(t *testing.T) {
	t.Parallel()
	r := workers.NewRoster([]string{"w2", "w1"}, func(name string) *known { return &known{name: name} })
	require.Equal(t, []*known{{name: "w2"}, {name: "w1"}}, r.All())
	r.Find("w1").busy = true
	r.Find("nobody").busy = true
	copied := r.Clone()
	require.Equal(t, 1, copied.Count((*known).isBusy))
	copied.Find("w2").busy = true
	require.Equal(t, []*known{{name: "w2"}, {name: "w1", busy: true}}, r.All(), "the copy is another")
	require.Equal(t, 2, copied.Count((*known).isBusy))
}
