//go:build !race

package leaderelection

import (
	"context"
	"encoding/json"
	"strconv"

	clientv3 "go.etcd.io/etcd/client/v3"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	typedv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"
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
