package main

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/election"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/watch"
)

const wantedMail, runningMail = "tenant/info/acme/rs/mail", "tenant/running/acme/rs/mail"

// newController returns one that leads, with a tenant's policy of three.
func newController(t *testing.T) (*controller, *election.Term) {
	t.Helper()
	ctx := t.Context()
	p, _, _ := newPolicies(t)
	p.learn("pushed", publish(t, p, 3))
	session, err := lease.NewSession(ctx, p.client)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, session.Close(context.WithoutCancel(ctx))) })
	e, err := election.New(session, "tenants")
	require.NoError(t, err)
	term, err := e.Campaign(ctx, "r1")
	require.NoError(t, err)
	products, err := watch.NewCache(ctx, p.client, "tenant/", decode)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, products.Close(context.WithoutCancel(ctx))) })
	return &controller{products: products, policies: p}, term
}

// do changes something and waits until the controller knows.
func do(t *testing.T, c *controller, op clientv3.Op) {
	t.Helper()
	resp, err := c.policies.client.Txn(t.Context()).Then(op).Commit()
	require.NoError(t, err)
	require.NoError(t, c.products.WaitRevision(t.Context(), resp.Header.Revision))
}

func requireRunning(t *testing.T, c *controller, want product) {
	t.Helper()
	resp, err := c.policies.client.Get(t.Context(), runningMail)
	require.NoError(t, err)
	var p product
	if len(resp.Kvs) > 0 {
		require.NoError(t, json.Unmarshal(resp.Kvs[0].Value, &p))
	}
	require.Equal(t, want, p)
}

func TestWhatIsNotWantedAnyMoreIsStopped(t *testing.T) {
	t.Parallel()
	c, term := newController(t)
	do(t, c, clientv3.OpPut(wantedMail, `{"Instances": 2}`))
	require.NoError(t, c.reconcile(t.Context(), term, wantedMail))
	requireRunning(t, c, product{2, term.Token()})
	do(t, c, clientv3.OpDelete(wantedMail))
	require.NoError(t, c.reconcile(t.Context(), term, runningMail), "as a leader finds it that did not lead meanwhile")
	requireRunning(t, c, product{})
}

func TestTheWorldIsNotChangedFromWhatItWasBefore(t *testing.T) {
	t.Parallel()
	c, term := newController(t)
	do(t, c, clientv3.OpPut(wantedMail, `{"Instances": 2}`))
	require.NoError(t, c.products.Close(t.Context())) // from now on it lags behind
	_, err := c.policies.client.Put(t.Context(), runningMail, `{"Instances": 1}`)
	require.NoError(t, err)
	require.NoError(t, c.reconcile(t.Context(), term, wantedMail))
	requireRunning(t, c, product{Instances: 1})
}

func TestALeaderWhoseTermIsOverChangesNothing(t *testing.T) {
	t.Parallel()
	c, term := newController(t)
	do(t, c, clientv3.OpPut(wantedMail, `{"Instances": 2}`))
	require.NoError(t, term.Resign(t.Context()))
	require.ErrorIs(t, c.reconcile(t.Context(), term, wantedMail), election.ErrResigned)
	requireRunning(t, c, product{})
}

func TestAProductIsRefusedAboveThePolicy(t *testing.T) {
	t.Parallel()
	c, term := newController(t)
	do(t, c, clientv3.OpPut(wantedMail, `{"Instances": 4}`))
	require.ErrorContains(t, c.reconcile(t.Context(), term, wantedMail), "4 wanted, 3 allowed")
	c.policies.learn("pushed", publish(t, c.policies, 4))
	require.NoError(t, c.reconcile(t.Context(), term, wantedMail))
	const other = "tenant/info/nobody/rs/mail"
	do(t, c, clientv3.OpPut(other, `{"Instances": 1}`))
	require.ErrorContains(t, c.reconcile(t.Context(), term, other), "1 wanted, 0 allowed")
}
