// Package locks has the works on etcd's locks: what Conclave's do and cost besides those of
// clientv3/concurrency, of its recipes, and besides the bare operations of the server that
// nobody can do without.
//
// Contenders have a client and a session each, as processes of their own have, unless a
// work is about one process.
package locks
