// Package redistest runs Redis nodes for tests and programs: redis-server processes,
// or servers embedded in this process, which are always available.
//
// # Clusters
//
// [New] and [Start] run processes of the redis-server in the PATH, on ports of their
// own, without persistence unless [WithAppendOnly]. [New] skips the test by name where
// there is no such binary, and fails it if CONCLAVE_REQUIRE_REDIS is 1.
// [NewEmbedded] and [StartEmbedded] run miniredis. Its keys expire by the clock,
// which [Cluster.Advance] moves forward; scripts run there in a Lua written in Go, one
// at a time, as on the real server.
//
// The nodes of a cluster know nothing of each other.
//
// # Faults
//
// [Node.Kill] and [Node.Restart] work for both kinds: a node comes back without its
// keys, or with them if [WithAppendOnly]. [Node.Stop] suspends a
// process. [Node.Load] makes an embedded node answer as one that is still loading its
// data. A [Net] is a network of a client's own, with a TCP proxy before each node.
// [Node.SkewClock] moves a node's wall clock, that of a process by a library that
// [CompileClock] makes. Programs, which have no [testing.TB], use [Node.Crash],
// [Node.Revive], [Node.Suspend] and [Node.Resume].
//
// On Linux processes die with the program that started them, however that ends.
package redistest
