//go:build unix

package main_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/shard"
)

// joins has a member own what it is given until the test ends.
func (p *program) joins(member string) {
	p.t.Helper()
	session, err := lease.NewSession(p.t.Context(), p.client())
	require.NoError(p.t, err)
	p.t.Cleanup(func() { require.NoError(p.t, session.Close(context.Background())) })
	m, err := shard.Join(p.t.Context(), session, "mailer", member, func(ctx context.Context, o *shard.Ownership) error {
		select {
		case <-o.Leaving():
		case <-ctx.Done():
		}
		return nil
	}, shard.WithShards(4), shard.WithValue("at "+member))
	require.NoError(p.t, err)
	p.t.Cleanup(func() { require.NoError(p.t, m.Close(context.Background())) })
}

// group is what shards says of one.
type group struct {
	Planner string `json:"planner"`
	Frozen  bool   `json:"frozen"`
	Members []struct {
		Name  string `json:"name"`
		State string `json:"state"`
		Owned int    `json:"owned"`
	} `json:"members"`
	Shards []struct {
		Owner  *string `json:"owner"`
		Pinned string  `json:"pinned"`
	} `json:"shards"`
}

// awaitGroup waits until a group is as it should be.
func (p *program) awaitGroup(as func(g group) bool) {
	p.t.Helper()
	require.Eventually(p.t, func() bool {
		var g group
		return json.Unmarshal([]byte(p.good("shards", "mailer", "-o", "json")), &g) == nil && as(g)
	}, hang, poll)
}

func TestShardsAreShownAndMoved(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	p.joins("ann")
	p.joins("bob")
	owns := func(ann, bob int) func(g group) bool {
		return func(g group) bool {
			return len(g.Members) == 2 && g.Members[0].Owned == ann && g.Members[1].Owned == bob
		}
	}
	p.awaitGroup(owns(2, 2))
	text := p.good("shards", "mailer", "-o", "wide")
	require.Regexp(t, `^mailer: 4 shards, 0 moving, 0 without an owner; plan \d+ by (ann|bob)\n\nMEMBER `, text)
	require.Contains(t, text, "at bob")
	require.Contains(t, text, "PINNED TO")

	p.good("shards", "mailer", "drain", "bob")
	p.awaitGroup(owns(4, 0))
	p.good("shards", "mailer", "uncordon", "bob")
	p.awaitGroup(owns(2, 2))
	p.good("shards", "mailer", "move", "3", "ann")
	p.awaitGroup(func(g group) bool {
		return g.Shards[3].Pinned == "ann" && g.Shards[3].Owner != nil && *g.Shards[3].Owner == "ann"
	})
	p.good("shards", "mailer", "unpin", "3")
	p.good("shards", "mailer", "freeze")
	p.awaitGroup(func(g group) bool { return g.Frozen && g.Shards[3].Pinned == "" })
	p.good("shards", "mailer", "thaw")
	p.good("shards", "mailer", "cordon", "bob")
	p.awaitGroup(func(g group) bool { return !g.Frozen && g.Members[1].State == "cordoned" })
}

func TestWhatIsWrongWithShardsIsSaid(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	for _, c := range []struct {
		code int
		says string
		args []string
	}{
		{64, "no GROUP", nil},
		{70, "nobody has joined", []string{"mailer"}},
		{64, `action "dance": must be one of cordon, drain, freeze, move, thaw, uncordon, unpin`, []string{"mailer", "dance"}},
		{64, "cordon: 0 arguments: must be MEMBER", []string{"mailer", "cordon"}},
		{64, "freeze: 1 arguments: must be none", []string{"mailer", "freeze", "x"}},
		{64, `SHARD "x": must be a number`, []string{"mailer", "move", "x", "ann"}},
	} {
		o := p.run(append([]string{"shards"}, c.args...)...)
		require.Equal(t, c.code, o.code, o.stderr)
		require.Contains(t, o.stderr, c.says)
	}
}
