package lease_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/lease"
)

// reads reports whether a transaction only reads, as a look does.
func reads(req any) bool {
	txn, ok := req.(*pb.TxnRequest)
	return ok && len(txn.Compare) == 0 && len(txn.Success) > 0 && txn.Success[0].GetRequestRange() != nil
}

func TestALookFromBeforeAWriteSaysNothingAboutIt(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	var rec etcdtest.Recorder
	client := c.Client(t, etcdtest.WithRecorder(&rec))
	p := newPulse()
	s := newSession(t, client, lease.WithTTL(calm), p.observe())
	key := c.Prefix(t) + "k"
	r, err := lease.Register(guarded(t), s, key, "first")
	require.NoError(t, err)

	looks := 0
	remove := rec.Hook("Txn", func(_ context.Context, req any, invoke func() error) error {
		if !reads(req) {
			return invoke()
		}
		err := invoke()
		if looks++; looks == 1 { // its answer arrives after that to the update
			require.NoError(t, r.Update(guarded(t), "second"))
		}
		return err
	})
	p.round(t, liveLease(t, s))
	remove()
	p.round(t, liveLease(t, s)) // whatever the first had written is there by now, or soon
	require.NoError(t, r.Update(guarded(t), "third"))
	resp, err := client.Get(guarded(t), key)
	require.NoError(t, err)
	require.Equal(t, 1, looks)
	require.Equal(t, int64(3), resp.Kvs[0].Version, "registered and updated twice, and nothing else was written")
}

func TestALookThatEndsAfterTheClosingOfARegistrationHasNothingWritten(t *testing.T) {
	t.Parallel()
	g := newRegistry(t)
	r := g.register(t, "v")
	looks := 0
	g.rec.Hook("Txn", func(_ context.Context, req any, invoke func() error) error {
		if reads(req) {
			if looks++; looks == 1 { // it finds no key
				require.NoError(t, r.Close(guarded(t)))
			}
		}
		return invoke()
	})
	g.round(t)
	require.Equal(t, 1, looks)
	g.rec.Reset()
	_, err := lease.Register(guarded(t), g.Session, g.key+"/other", "v")
	require.NoError(t, err)
	written := 0
	for _, call := range g.rec.Calls() {
		for _, op := range operations(call.Request) {
			if op.GetRequestTxn() != nil {
				written++
			}
		}
	}
	require.Equal(t, 1, written, "nothing but the other key")
}

// operations are those of a transaction that succeeds.
func operations(req any) []*pb.RequestOp {
	txn, _ := req.(*pb.TxnRequest)
	return txn.GetSuccess()
}
