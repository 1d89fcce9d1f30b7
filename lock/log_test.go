package lock_test

import (
	"bytes"
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

// page is what a logger has written.
type page struct{ bytes.Buffer }

// lines returns the level and message of each line.
func (p *page) lines() (all []string) {
	for line := range bytes.Lines(p.Bytes()) {
		all = append(all, string(bytes.TrimSpace(line)))
	}
	return all
}

// logger writes level and message, with what the attributes of the queue say.
func (p *page) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(p, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		switch a.Key {
		case slog.LevelKey, slog.MessageKey, "kind", "name":
			return a
		}
		return slog.Attr{}
	}}))
}

func TestWhatOthersDoToAQueueIsLoggedAtWarnAndWhatMendsItselfAtInfo(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		var p page
		x, other := newParty(t, s), newParty(t, s)
		var err error
		x.session, err = lease.NewSession(t.Context(), x.client, lease.WithTTL(partyTTL), lease.WithLogger(p.logger()))
		require.NoError(t, err)
		h := take(t, x.mutex(t))
		operate(t, s, func(client *clientv3.Client) error {
			_, err := client.Delete(t.Context(), h.Key())
			return err
		})
		vtime.Advance(partyTTL)
		require.ErrorIs(t, h.Err(), lock.ErrLost)
		const queue = ` kind=mutex name=lock`
		require.Equal(t, []string{`level=WARN msg="queue: key of the holder was deleted"` + queue}, p.lines())

		p.Reset()
		theirs := take(t, other.mutex(t))
		done := soon(anHour(t), x.mutex(t).Lock)
		operate(t, s, func(client *clientv3.Client) error {
			all, err := lock.Inspect(t.Context(), client, "lock")
			if err == nil {
				_, err = client.Delete(t.Context(), all[1].Key)
			}
			return err
		})
		vtime.Advance(partyTTL)
		require.Equal(t, []string{`level=WARN msg="queue: entry was deleted while it waited; queueing again"` + queue}, p.lines())

		p.Reset()
		losses()["its lease revoked"](t, x, nil)
		vtime.Advance(partyTTL)
		require.ElementsMatch(t, []string{
			`level=WARN msg="lease: lost"`,
			`level=INFO msg="queue: waiter lost its lease and queues again"` + queue,
			`level=INFO msg="lease: session has a new lease"`,
		}, p.lines())
		unlock(t, theirs)
		unlock(t, granted(t, done))
		require.NoError(t, x.session.Close(context.Background()))
		vtime.Advance(time.Second)
	})
}

func TestRenewalsThatFailAreLoggedOnceAtInfoAndThenAtDebug(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		var p page
		client, cut := s.CutClient()
		session, err := lease.NewSession(t.Context(), client, lease.WithTTL(partyTTL), lease.WithLogger(p.logger()))
		require.NoError(t, err)
		cut.Cut()
		vtime.Advance(2 * partyTTL / 3)
		cut.Heal()
		vtime.Advance(partyTTL)
		all := p.lines()
		require.Greater(t, len(all), 2)
		require.Equal(t, `level=INFO msg="lease: renewal overdue"`, all[0])
		for _, line := range all[1 : len(all)-1] {
			require.Equal(t, `level=DEBUG msg="lease: renewal failed"`, line)
		}
		require.Equal(t, `level=INFO msg="lease: healthy again"`, all[len(all)-1])
		require.NoError(t, session.Close(t.Context()))
	})
}
