// Package etcdtest runs etcd inside the test process, on ports and directories
// of its own, and gives tests control over its members, over the network
// between clients and members, and over single RPCs. Package conclavetest is what
// of this is fit for the public.
//
// # Clusters
//
// [New] is for tests, [Start] for programs. Members are real etcd servers from
// the embed package with a tick of 20 ms and an election timeout of 100 ms (300 under the race detector),
// which makes the minimum lease TTL one second. They do not sync to disk: a
// member survives [Cluster.Kill] and [Cluster.Restart], not the loss of the
// machine. They log nothing, except why they panic.
//
// Where the environment variable CONCLAVE_ETCD_ENDPOINTS names a cluster,
// [New] uses that one for tests that do not ask for control over the members.
// Such a cluster is shared: keep keys under [Cluster.Prefix], and derive TTLs
// from [Cluster.MinTTL].
//
// # Faults
//
// From coarse to fine: [Cluster.Kill], [Cluster.Stop], [Cluster.Restart] and
// [Cluster.Replace] for a member; [Cluster.Isolate] and [Cluster.CutLink] between members; [Net]
// between one client and the members, by TCP proxies; [Recorder] for single
// RPCs and stream messages of one client.
//
// Clients have the timing of production clients: gRPC waits a second and more
// between attempts to connect. [WithFastReconnect] takes that out of a test
// which is about something else.
package etcdtest
