//go:build !race

package leaderelection_test

import (
	"context"
	"encoding/json"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	typedv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/klog/v2"
)

// A fifth of what client-go recommends. Lease durations are whole seconds.
const (
	leaseDuration = 3 * time.Second
	renewDeadline = 2 * time.Second
	retryPeriod   = 400 * time.Millisecond
)

// apiServer keeps Lease objects in etcd, as the API server does: it is its resource
// version, the revision of the key, that says whether an object has changed. Requests have
// no timeout but their context's, as with client-go's default configuration and in its
// example of leader election. Methods that client-go's lock does not call are not there.
type apiServer struct {
	typedv1.LeaseInterface
	etcd *clientv3.Client
}

func (a apiServer) Leases(string) typedv1.LeaseInterface { return a }

func (a apiServer) Get(ctx context.Context, name string, _ metav1.GetOptions) (*coordinationv1.Lease, error) {
	resp, err := a.etcd.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	if len(resp.Kvs) == 0 {
		return nil, apierrors.NewNotFound(coordinationv1.Resource("leases"), name)
	}
	object := &coordinationv1.Lease{}
	if err := json.Unmarshal(resp.Kvs[0].Value, object); err != nil {
		return nil, err
	}
	return versioned(object, resp.Kvs[0].ModRevision), nil
}

func (a apiServer) Create(ctx context.Context, object *coordinationv1.Lease, _ metav1.CreateOptions) (*coordinationv1.Lease, error) {
	created, ok, err := a.put(ctx, object, 0)
	if err == nil && !ok {
		err = apierrors.NewAlreadyExists(coordinationv1.Resource("leases"), object.Name)
	}
	return created, err
}

func (a apiServer) Update(ctx context.Context, object *coordinationv1.Lease, _ metav1.UpdateOptions) (*coordinationv1.Lease, error) {
	version, err := strconv.ParseInt(object.ResourceVersion, 10, 64)
	if err != nil {
		return nil, err
	}
	updated, ok, err := a.put(ctx, object, version)
	if err == nil && !ok {
		err = apierrors.NewConflict(coordinationv1.Resource("leases"), object.Name, nil)
	}
	return updated, err
}

// put writes the object if its key was last written at the given revision.
func (a apiServer) put(ctx context.Context, object *coordinationv1.Lease, version int64) (*coordinationv1.Lease, bool, error) {
	value, err := json.Marshal(object)
	if err != nil {
		return nil, false, err
	}
	resp, err := a.etcd.Txn(ctx).
		If(clientv3.Compare(clientv3.ModRevision(object.Name), "=", version)).
		Then(clientv3.OpPut(object.Name, string(value))).
		Commit()
	if err != nil {
		return nil, false, err
	}
	return versioned(object.DeepCopy(), resp.Header.Revision), resp.Succeeded, nil
}

func versioned(object *coordinationv1.Lease, revision int64) *coordinationv1.Lease {
	object.ResourceVersion = strconv.FormatInt(revision, 10)
	return object
}

// elector is a candidate of client-go's, and what it has been told.
type elector struct {
	*leaderelection.LeaderElector
	// leaders are the leaders that the candidate has heard of.
	leaders chan string
}

// newElector returns a candidate that calls lead when it is elected. As in client-go's
// example, but not by default, it releases its lease when its Run ends.
func newElector(tb testing.TB, etcd *clientv3.Client, name, identity string, lead func(context.Context)) *elector {
	tb.Helper()
	e := &elector{leaders: make(chan string, 100)}
	config := leaderelection.LeaderElectionConfig{
		Lock: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Name: name},
			Client:     apiServer{etcd: etcd},
			LockConfig: resourcelock.ResourceLockConfig{Identity: identity},
		},
		LeaseDuration:   leaseDuration,
		RenewDeadline:   renewDeadline,
		RetryPeriod:     retryPeriod,
		ReleaseOnCancel: true,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: lead,
			OnStoppedLeading: func() {},
			OnNewLeader:      func(identity string) { e.leaders <- identity },
		},
	}
	var err error
	e.LeaderElector, err = leaderelection.NewLeaderElector(config)
	require.NoError(tb, err)
	return e
}

// run runs the candidate until the returned function is called, which waits for it. It
// writes no log.
func (e *elector) run(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(klog.NewContext(ctx, klog.Logger{}))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		e.Run(ctx)
	}()
	return func() {
		cancel()
		<-ended
	}
}
