package lease_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/inside"
	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lease"
)

// wearOut puts so many keys of a lease in doubt that the session puts it out of use.
func wearOut(l *lease.Lease) {
	for i := range 20 {
		inside.Keys(l).Suspect(fmt.Sprint("in doubt ", i), 1, "v")
	}
}

func TestARegistrationIsServedWhileNoOtherLeaseIsGranted(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		var rec etcdtest.Recorder
		client := s.Client(vtime.WithDialOptions(rec.DialOptions()...))
		session, err := lease.NewSession(t.Context(), client)
		require.NoError(t, err)
		r, err := lease.Register(t.Context(), session, "registered", "value")
		require.NoError(t, err)
		l, err := session.Lease(t.Context())
		require.NoError(t, err)
		wearOut(l)
		rec.Reset()
		allow := rec.Hook("LeaseGrant", func(context.Context, any, func() error) error { return rpctypes.ErrGRPCNoSpace })
		vtime.Advance(lease.DefaultTTL + time.Minute)
		require.Positive(t, rec.Count("LeaseGrant"), "the lease is worn out")
		require.Less(t, rec.Count("LeaseGrant"), 60)
		require.NoError(t, r.Update(anHour(t), "another"))
		require.NoError(t, r.Err())

		allow()
		vtime.Advance(lease.DefaultTTL)
		requireOwned(t, s, session, "registered")
		require.Error(t, l.Err(), "it has moved to another")
		require.NoError(t, r.Close(anHour(t)))
		require.Nil(t, value(t, client, "registered"))
		require.NoError(t, session.Close(t.Context()))
	})
}

func TestGrantsThatAreRefusedAreAskedForEverMoreSeldom(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		var rec etcdtest.Recorder
		client := s.Client(vtime.WithDialOptions(rec.DialOptions()...))
		session, err := lease.NewSession(t.Context(), client)
		require.NoError(t, err)
		r, err := lease.Register(t.Context(), session, "registered", "value")
		require.NoError(t, err)
		l, err := session.Lease(t.Context())
		require.NoError(t, err)
		rec.Reset()
		allow := rec.Hook("LeaseGrant", func(context.Context, any, func() error) error { return rpctypes.ErrGRPCNoSpace })
		_, err = client.Revoke(t.Context(), l.ID())
		require.NoError(t, err)
		vtime.Advance(time.Minute)
		require.Error(t, l.Err())
		require.GreaterOrEqual(t, rec.Count("LeaseGrant"), 10)
		require.Less(t, rec.Count("LeaseGrant"), 30)
		allow()
		vtime.Advance(10 * time.Second)
		require.NoError(t, r.Err())
		requireOwned(t, s, session, "registered")
		require.NoError(t, session.Close(t.Context()))
	})
}
