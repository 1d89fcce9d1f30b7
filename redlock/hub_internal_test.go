package redlock

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAWaiterIsMisledByItsOwnAttemptsOnlyWhileNobodyElseHasTheLock(t *testing.T) {
	t.Parallel()
	const own, other, third = "own", "other", "third"
	for name, tc := range map[string]struct {
		owners []string // by node; "" has granted
		misled bool
	}{
		"its own":                          {[]string{own, own, ""}, true},
		"its own, and no quorum of others": {[]string{own, other, ""}, true},
		"its own, and several others":      {[]string{own, other, third}, true},
		"its own, and who has the lock":    {[]string{own, other, other}, false},
		"only others":                      {[]string{other, other, ""}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &round{m: &Mutex{nodes: &Nodes{list: make([]*node, len(tc.owners))}}, claim: &claim{token: "next"}}
			for _, owner := range tc.owners {
				a := answer{state: NodeGranted}
				if owner != "" {
					a = answer{state: NodeLocked, owner: owner}
				}
				r.answers = append(r.answers, a)
			}
			w := &waiter{tokens: []string{own}}
			require.Equal(t, tc.misled, w.misled(r))
			require.Contains(t, w.tokens, "next")
		})
	}
}
