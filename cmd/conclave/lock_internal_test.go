package main

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/status"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

func TestWhoDoesNotWaitForOthersDoesNotWaitForAnEtcdThatIsSilent(t *testing.T) {
	t.Parallel()
	c, rec := etcdtest.New(t), &etcdtest.Recorder{}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := lease.NewSession(ctx, c.Client(t, etcdtest.WithRecorder(rec)))
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close(ctx)) }()
	const timeout = 50 * time.Millisecond
	stop := rec.Hook("Txn", func(ctx context.Context, _ any, _ func() error) error {
		<-ctx.Done()
		return status.FromContextError(ctx.Err()).Err()
	})
	defer stop()
	name := c.Prefix(t) + "a"
	_, err = (&lockOptions{try: true}).acquire(ctx, s, []string{name}, timeout)
	require.Equal(t, exitUnavailable, code(err), "%v", err)
	require.NoError(t, ctx.Err())
	r := &registrar{app: &app{etcd: etcdFlags{commandTimeout: timeout}}, session: s, options: &registerOptions{}, key: name}
	require.Equal(t, exitUnavailable, code(r.putFirst(ctx)))
	require.NoError(t, ctx.Err())
}

// counting has a hook called for each read that counts keys, and for no other transaction.
func counting(rec *etcdtest.Recorder, hook etcdtest.UnaryHook) (stop func()) {
	return rec.Hook("Txn", func(ctx context.Context, req any, invoke func() error) error {
		txn, _ := req.(*pb.TxnRequest)
		if len(txn.GetSuccess()) == 0 || !txn.Success[0].GetRequestRange().GetCountOnly() {
			return invoke()
		}
		return hook(ctx, req, invoke)
	})
}

// silent is a request without an answer.
func silent(ctx context.Context, _ any, _ func() error) error {
	<-ctx.Done()
	return status.FromContextError(ctx.Err()).Err()
}

// rivals are a session whose requests are hooked, and one that reads the name of a lock.
func rivals(t *testing.T) (s *lease.Session, rec *etcdtest.Recorder, name string, read func() *lock.Hold) {
	t.Helper()
	c, rec := etcdtest.New(t), &etcdtest.Recorder{}
	sessions := make([]*lease.Session, 2)
	for i, client := range []*clientv3.Client{c.Client(t, etcdtest.WithRecorder(rec)), c.Client(t)} {
		var err error
		sessions[i], err = lease.NewSession(t.Context(), client)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, sessions[i].Close(context.WithoutCancel(t.Context()))) })
	}
	name = c.Prefix(t) + "a"
	m, err := lock.NewRWMutex(sessions[1], name)
	require.NoError(t, err)
	return sessions[0], rec, name, func() *lock.Hold {
		h, err := m.TryRLock(t.Context())
		assert.NoError(t, err)
		return h
	}
}

func TestALockIsNotTakenIfItIsNotKnownWhetherOthersUseItAsAnotherKind(t *testing.T) {
	t.Parallel()
	s, rec, name, read := rivals(t)
	read()
	for _, method := range []string{"Txn", "Range"} { // however that is found out
		t.Cleanup(rec.Hook(method, func(ctx context.Context, req any, invoke func() error) error {
			if txn, ok := req.(*pb.TxnRequest); ok && !txn.Success[0].GetRequestRange().GetCountOnly() {
				return invoke()
			}
			return silent(ctx, req, invoke)
		}))
	}
	_, err := (&lockOptions{}).acquire(t.Context(), s, []string{name}, 50*time.Millisecond)
	require.Equal(t, exitUnavailable, code(err), "%v", err)
}

func TestWhetherOthersUseALockAsAnotherKindIsAskedAgain(t *testing.T) {
	t.Parallel()
	s, rec, name, read := rivals(t)
	read()
	var asked atomic.Int64
	t.Cleanup(counting(rec, func(ctx context.Context, req any, invoke func() error) error {
		switch asked.Add(1) {
		case 1:
			return silent(ctx, req, invoke)
		case 2:
			return rpctypes.ErrGRPCNoLeader
		}
		return invoke()
	}))
	_, err := (&lockOptions{}).acquire(t.Context(), s, []string{name}, time.Minute)
	require.Equal(t, exitNotObtained, code(err), "%v", err)
	require.EqualValues(t, 3, asked.Load())
}

func TestWhetherOthersUseALockAsAnotherKindIsAskedAlsoIfTheTimeToWaitIsOver(t *testing.T) {
	t.Parallel()
	const wait = 5 * time.Second
	s, rec, name, read := rivals(t)
	var asked atomic.Int64
	began := time.Now()
	t.Cleanup(counting(rec, func(ctx context.Context, req any, invoke func() error) error {
		if asked.Add(1) == 1 {
			err := invoke()
			read()
			return err
		}
		if time.Since(began) < wait {
			return silent(ctx, req, invoke)
		}
		return invoke()
	}))
	_, err := (&lockOptions{wait: wait}).acquire(t.Context(), s, []string{name}, time.Minute)
	require.Equal(t, exitNotObtained, code(err), "%v", err)
	entries, err := lock.Inspect(t.Context(), s.Client(), name)
	require.NoError(t, err)
	require.Len(t, entries, 1, "it is released")
}

func TestOfWhatMayBeReadInPartTheRestIsPassedOver(t *testing.T) {
	t.Parallel()
	s, rec, name, read := rivals(t)
	read()
	refusing := func(kind string) etcdtest.UnaryHook {
		return func(_ context.Context, req any, invoke func() error) error {
			txn, _ := req.(*pb.TxnRequest)
			for _, op := range txn.GetSuccess() {
				if strings.Contains(string(op.GetRequestRange().GetKey()), kind) {
					return rpctypes.ErrGRPCPermissionDenied
				}
			}
			return invoke()
		}
	}
	stop := counting(rec, refusing("/~semaphore/"))
	_, err := (&lockOptions{}).acquire(t.Context(), s, []string{name}, time.Minute)
	require.Equal(t, exitNotObtained, code(err), "%v", err)
	stop()
	t.Cleanup(counting(rec, refusing("/~")))
	h, err := (&lockOptions{}).acquire(t.Context(), s, []string{name}, time.Minute)
	require.NoError(t, err, "who may not see it is not told")
	require.NoError(t, h.Unlock(t.Context()))
}

func TestAnOutageIsNotTakenForAnEndOfTheWait(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := lease.NewSession(ctx, etcdtest.New(t).Client(t))
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close(ctx)) }()
	o := &lockOptions{wait: time.Hour}
	outage := &exitError{code: exitUnavailable, err: context.DeadlineExceeded}
	require.Equal(t, exitUnavailable, code(o.explain(ctx, s, []string{"a"}, outage)))
	require.Equal(t, exitNotObtained, code(o.explain(ctx, s, []string{"a"}, context.DeadlineExceeded)))
}
