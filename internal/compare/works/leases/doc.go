// Package leases has the works on leases: what it costs to keep locks that are held, in
// requests and in traffic, besides clientv3/concurrency with one session for all locks, and
// with one for each, which is what excludes goroutines of a process from each other.
package leases
