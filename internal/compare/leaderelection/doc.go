// Package leaderelection compares Conclave's elections with k8s.io/client-go's
// leaderelection and with clientv3/concurrency, on one embedded etcd.
//
// What client-go's lock talks to is here the part of a Kubernetes API server that it
// uses, on the same etcd: a Lease object in a key, read, created, and replaced if its
// resource version is still the same. Everything else is client-go as published.
//
// client-go recommends a lease duration of 15 s, a renew deadline of 10 s and a retry
// period of 2 s. The comparisons use a fifth of each, and a TTL of 3 s for the others.
// Times scale with these, except after a resignation those of the two that watch, which
// depend on no timer.
//
// Nothing here but the timings is built with the race detector: client-go takes minutes to
// compile with it.
package leaderelection
