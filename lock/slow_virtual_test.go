package lock_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

// A round has time for its renewal and one request more.
func TestOnASlowLinkRoundsFindWhatAnOperatorDeletes(t *testing.T) {
	t.Parallel()
	const ttl, registration = 10 * time.Second, "registration"
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		operator := s.Client()
		session, err := lease.NewSession(t.Context(), s.SlowClient(time.Second, time.Second), lease.WithTTL(ttl))
		require.NoError(t, err)
		var holds []*lock.Hold
		for i := range 5 {
			m, err := lock.NewMutex(session, strconv.Itoa(i))
			require.NoError(t, err)
			h, err := m.Lock(t.Context())
			require.NoError(t, err)
			holds = append(holds, h)
		}
		r, err := lease.Register(t.Context(), session, registration, "here")
		require.NoError(t, err)
		vtime.Advance(3 * ttl)
		for _, key := range []string{holds[2].Key(), registration} {
			_, err = operator.Delete(t.Context(), key)
			require.NoError(t, err)
		}
		vtime.Advance(3 * ttl)
		for i, h := range holds {
			require.Equal(t, i == 2, h.Err() != nil, "%d: %v", i, h.Err())
		}
		there, err := operator.Get(t.Context(), registration)
		require.NoError(t, err)
		require.Len(t, there.Kvs, 1, "it is put again")
		require.NoError(t, r.Err())
		require.NoError(t, session.Close(t.Context()))
	})
}
