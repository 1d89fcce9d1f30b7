package peertest

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Put puts a key and returns the revision of that.
func Put(tb testing.TB, client *clientv3.Client, key, value string, opts ...clientv3.OpOption) int64 {
	tb.Helper()
	resp, err := client.Put(Guarded(tb), key, value, opts...)
	require.NoError(tb, err)
	return resp.Header.Revision
}

// Get returns the key, nil if there is none.
func Get(tb testing.TB, client *clientv3.Client, key string) *mvccpb.KeyValue {
	tb.Helper()
	resp, err := client.Get(Guarded(tb), key)
	require.NoError(tb, err)
	if len(resp.Kvs) == 0 {
		return nil
	}
	return resp.Kvs[0]
}

// Remove deletes a key that exists, as an operator would.
func Remove(tb testing.TB, client *clientv3.Client, key string) {
	tb.Helper()
	resp, err := client.Delete(Guarded(tb), key)
	require.NoError(tb, err)
	require.EqualValues(tb, 1, resp.Deleted)
}

// Revoke revokes a lease, as an operator would.
func Revoke(tb testing.TB, client *clientv3.Client, id clientv3.LeaseID) {
	tb.Helper()
	_, err := client.Revoke(Guarded(tb), id)
	require.NoError(tb, err)
}
