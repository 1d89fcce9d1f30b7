package election_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/client/v3/concurrency"

	"github.com/conclave-go/conclave/internal/etcdtest"
)

// F4: the official election never looks at its own key again once it waits, and so
// elects a candidate whose lease died meanwhile.
func TestF4ACandidateWhoseLeaseDiedIsNotElectedWithIt(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	operator := c.Client(t)

	t.Run("Conclave", func(t *testing.T) {
		t.Parallel()
		name, leader, p := c.Prefix(t)+"e", newPeer(t, c), newPeer(t, c)
		term := leader.lead(t, name, "a")
		dead := p.LeaseID(t)
		done, e := p.queueUp(t.Context(), t, name, "b")
		// No renewal falls into this test, so only the wake-up check can notice.
		revoke(t, operator, dead)
		resign(t, term)
		next := elected(t, done)
		require.NotEqual(t, e.Revision, next.Token().Revision())
		kv := get(t, operator, next.Key())
		require.NotNil(t, kv, "who is elected exists")
		require.Equal(t, kv.CreateRevision, next.Token().Revision())
		require.NotEqual(t, int64(dead), kv.Lease)
		resign(t, next)
	})

	t.Run("official", func(t *testing.T) {
		t.Parallel()
		name := c.Prefix(t) + "e"
		stand := func(ttl int) (*concurrency.Session, *concurrency.Election, *etcdtest.Recorder) {
			rec := &etcdtest.Recorder{}
			s, err := concurrency.NewSession(c.Client(t, etcdtest.WithRecorder(rec)), concurrency.WithTTL(ttl))
			require.NoError(t, err)
			t.Cleanup(func() { _ = s.Close() })
			return s, concurrency.NewElection(s, name), rec
		}
		_, leader, _ := stand(120)
		require.NoError(t, leader.Campaign(guarded(t), "a"))
		s, candidate, rec := stand(120)
		done := make(chan error, 1)
		go func() { done <- candidate.Campaign(guarded(t), "b") }()
		eventually(t, func() bool {
			for _, call := range rec.Calls() {
				if call.IsWatchCreate() {
					return true
				}
			}
			return false
		}, "it waits")
		revoke(t, operator, s.Lease())
		require.NoError(t, leader.Resign(guarded(t)))
		require.NoError(t, await(t, done, "Campaign returns"), "it thinks that it leads")
		require.Nil(t, get(t, operator, candidate.Key()), "but is nobody")
	})
}
