package theatre_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/examples/internal/theatre"
)

func TestTwoInOfficeAtATimeAndTokensThatDoNotRiseAreFound(t *testing.T) {
	t.Parallel()
	began := time.Now()
	at := func(s int) time.Time { return began.Add(time.Duration(s) * time.Second) }
	a := theatre.Office{Copy: "a", Token: 1, Since: at(0), Until: at(2)}
	require.NoError(t, theatre.Check())
	require.NoError(t, theatre.Check(a))
	require.NoError(t, theatre.Check(theatre.Office{Copy: "b", Token: 2, Since: at(2), Until: at(4)}, a))
	require.ErrorContains(t, theatre.Check(theatre.Office{Copy: "b", Token: 2, Since: at(1), Until: at(4)}, a), "a was active until")
	require.ErrorContains(t, theatre.Check(theatre.Office{Copy: "b", Token: 1, Since: at(3), Until: at(4)}, a), "and b from")
}

func TestAFailureWhileItWaitsEndsTheWait(t *testing.T) {
	t.Parallel()
	failed := errors.New("failed")
	s := theatre.Script{Patience: time.Minute}
	s.Until(t.Context(), "anything", func() bool {
		s.Do(func() error { return failed })
		return false
	})
	require.ErrorIs(t, s.Failed, failed)
	s = theatre.Script{}
	s.Do(func() error {
		s.Do(func() error { return failed })
		return nil
	})
	require.ErrorIs(t, s.Failed, failed)
	s = theatre.Script{Patience: time.Millisecond}
	s.Until(t.Context(), "spring", func() bool { return false })
	require.EqualError(t, s.Failed, "no sign of spring within 1ms")
}

func TestWritesOfAFormerHolderAreFound(t *testing.T) {
	t.Parallel()
	check := func(values ...string) error {
		var all []*clientv3.Event
		for _, v := range values {
			all = append(all, &clientv3.Event{Kv: &mvccpb.KeyValue{Value: []byte(v)}})
		}
		return theatre.CheckTokens(all, theatre.ParseToken)
	}
	require.NoError(t, check("5", "5", "7"))
	require.ErrorContains(t, check("7", "5"), "stale")
	require.ErrorContains(t, check(), "nothing was ever written")
	require.Error(t, check("seven"))
}
