// Package naming is about gRPC servers that come and go: how soon the first call reaches one
// that has registered, and until when calls fail after one has vanished.
//
// The peer is the resolver and the endpoint manager of clientv3/naming, with a session of
// clientv3/concurrency for the lease. The TTL is 3 s for both.
package naming
