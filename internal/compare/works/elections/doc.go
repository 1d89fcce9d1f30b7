// Package elections is about leaders: how soon one is followed by the next, after it has
// resigned and after it was cut off, and how soon others hear what it proclaims.
//
// The peers are clientv3/concurrency, package concurrency of Conclave under the same names,
// and client-go, with the timings of package
// leaderelection: a TTL, or lease duration, of 3 s for all, and for client-go a retry
// period of 400 ms, a fifth of what it recommends. What depends on a timer grows with
// these; a resignation does for client-go alone, which asks once in a retry period
// whether there is a leader.
package elections
