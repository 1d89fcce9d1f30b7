package lock_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lock"
)

// A member that has vanished does not answer, and nobody knows whether it has done what was asked for.
func TestATransactionWithoutAnAnswerIsNotWaitedForForEver(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		p := newParty(t, s)
		h := take(t, p.mutex(t))
		hang := p.rec.Hook("Txn", func(ctx context.Context, req any, invoke func() error) error {
			if err := invoke(); err != nil || !putsSomething(asTxn(req)) {
				return err
			}
			<-ctx.Done()
			return ctx.Err()
		})
		began := time.Now()
		_, err := h.Txn(t.Context()).Then(clientv3.OpPut("k", "v")).Commit()
		require.Error(t, err)
		require.NotErrorIs(t, err, lock.ErrLost)
		require.Equal(t, partyTTL/3, time.Since(began))
		require.NoError(t, h.Err())
		hang()
		requireKeys(t, s, "k", "k")
		unlock(t, h)
	})
}

func TestATransactionUnderWayEndsWithTheHold(t *testing.T) {
	t.Parallel()
	for what, end := range losses() {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			vtime.Run(t, func(t *testing.T, s *vtime.Server) {
				p := newParty(t, s)
				h := take(t, p.mutex(t))
				p.rec.Hook("Txn", func(ctx context.Context, req any, invoke func() error) error {
					if !putsSomething(asTxn(req)) {
						return invoke()
					}
					<-ctx.Done()
					return ctx.Err()
				})
				done := make(chan error, 1)
				ended := make(chan time.Time, 1)
				go func() {
					<-h.Context().Done()
					ended <- time.Now()
				}()
				go func() {
					for {
						if _, err := h.Txn(t.Context()).Then(clientv3.OpPut("k", "v")).Commit(); h.Err() != nil {
							done <- err
							return
						}
					}
				}()
				end(t, p, h)
				err := await(t, done, "Commit returns")
				require.ErrorContains(t, err, "the outcome of the transaction is unknown")
				require.NotErrorIs(t, err, lock.ErrLost, "it may have been carried out")
				require.Equal(t, await(t, ended, "the hold ends"), time.Now())
			})
		})
	}
}

func TestATransactionThatWasRefusedForWantOfALeaderIsRepeated(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		p := newParty(t, s)
		h := take(t, p.mutex(t))
		left := 3
		p.rec.Hook("Txn", func(_ context.Context, req any, invoke func() error) error {
			if putsSomething(asTxn(req)) && left > 0 {
				left--
				return rpctypes.ErrGRPCNoLeader
			}
			return invoke()
		})
		_, err := h.Txn(t.Context()).Then(clientv3.OpPut("k", "v")).Commit()
		require.NoError(t, err)
		require.Zero(t, left)
		unlock(t, h)
	})
}

func asTxn(req any) *pb.TxnRequest {
	txn, _ := req.(*pb.TxnRequest)
	return txn
}

// Where it can be, what a holder sends is not nested: some servers check only what is not.
func TestATransactionWithoutConditionsIsNotNested(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		p := newParty(t, s)
		h := take(t, p.mutex(t))
		for _, c := range []struct {
			txn    clientv3.Txn
			nested bool
			holds  bool
		}{
			{h.Txn(t.Context()).Then(clientv3.OpPut("k", "v"), clientv3.OpGet("k")), false, true},
			{h.Txn(t.Context()), false, true},
			{h.Txn(t.Context()).If(clientv3.Compare(clientv3.Version("k"), ">", 0)).Then(clientv3.OpPut("k", "w"), clientv3.OpGet("k")), true, true},
			{h.Txn(t.Context()).If(clientv3.Compare(clientv3.Version("k"), "=", 0)).Else(clientv3.OpGet("k"), clientv3.OpGet("k")), true, false},
		} {
			p.rec.Reset()
			resp, err := c.txn.Commit()
			require.NoError(t, err)
			require.Equal(t, c.holds, resp.Succeeded)
			require.NotNil(t, resp.Header)
			calls := p.rec.Calls()
			require.Len(t, calls, 1)
			sent := asTxn(calls[0].Request)
			nested := len(sent.Success) > 0 && sent.Success[0].GetRequestTxn() != nil
			require.Equal(t, c.nested, nested)
			if len(resp.Responses) == 2 {
				require.Equal(t, "k", string(resp.Responses[1].GetResponseRange().Kvs[0].Key))
			}
		}
		many := make([]clientv3.Op, 128)
		for i := range many {
			many[i] = clientv3.OpGet("k")
		}
		_, err := h.Txn(t.Context()).Then(many...).Commit()
		require.NoError(t, err, "as many operations as without the guard")
		unlock(t, h)
		_, err = h.Txn(t.Context()).Then(clientv3.OpPut("k", "v")).Commit()
		require.ErrorIs(t, err, lock.ErrReleased)
	})
}
