// Package conclavetest is a kit for tests of programs that use Conclave: an etcd, or a
// set of Redis servers, in the test's own process, with the faults that such programs
// have to live with. Conclave is tested with the same code.
//
// # Which question, which function
//
// [NewCluster] starts a real etcd for a test, [WithMembers] one of three or more.
// [StartCluster] does so for a program. [VirtualCluster] runs a test with an etcd in
// virtual time. [NewRedis], [StartRedis] and [VirtualRedis] are the same for package
// redlock. With these:
//
//   - Does my worker stop when it loses its lock? [Cluster.ExpireLease] or
//     [Cluster.DeleteKey] take the lock away on the server, and the worker learns of it a
//     moment later; [Cluster.ExpireSession] also tells it at once. For a session in the
//     code under test, [Cluster.AwaitHolder] finds the key.
//   - Does it stop before another one starts? In a partition the holder has to be told
//     first: [Network.Cut] and the passing of the TTL, best in virtual time with [Advance].
//   - Does it survive what it should? [Network.DropReply] loses the answer to a request
//     that took effect, [Network.StallWatches] delivers no events on connections that
//     live, [Network.Reset] breaks connections, [Network.CutMember] hides one member,
//     [Network.Slow] and [Network.Limit] make a connection long or narrow.
//   - And what happens to the cluster? [Cluster.Stop], [Cluster.Kill], [Cluster.Restart],
//     [Cluster.MoveLeader], [Cluster.Compact]; [Cluster.Isolate] leaves a member without a
//     leader, [WithLearner] adds one without a vote.
//   - What if a call is refused? [Network.RefuseCall] refuses one, for any reason you
//     choose; [Cluster.FillUp] refuses all writes, until [Cluster.MakeRoom].
//     [WithMaxStreams] is a limit that refuses nothing and makes calls wait.
//   - Do workers wait for each other? [Cluster.AwaitWaiters] returns when that many queue
//     for a lock; it sends requests only when something has changed. For elections, use
//     election.Observe and election.Candidates.
//   - Does the worker on Redis cope with a node that hangs ([Redis.Hang]), comes back empty
//     ([Redis.Restart]) or has its clock set ([Redis.AdvanceClock])? [RedisNetwork] is the
//     network of one of several clients.
//
// If a method goes wrong, it fails the test with a message that begins with
// "conclavetest: ". Such methods take a [testing.TB] and, like its FailNow, must be
// called from the goroutine of the test.
//
// # A worker that loses its lock
//
// The code under test connects as it always does; it gets a client from [Cluster.Client],
// or from [Cluster.Network] if it should be cut off. Code that makes its own client gets
// [Network.Config]; a separate process gets the addresses.
//
//	func TestWorkerStopsWhenItLosesTheLock(t *testing.T) {
//		t.Parallel()
//		cluster := conclavetest.NewCluster(t)
//		worker := start(t, cluster.Client(t), 6*time.Second)
//		holder := cluster.AwaitHolder(t, "job")
//
//		cluster.ExpireLease(t, holder.Key)
//		require.ErrorIs(t, <-worker.done, lock.ErrLost)
//	}
//
// How long that takes depends on the TTL: the worker learns of the loss when it next renews
// its lease, after a third of it. The servers here have elections so short that they grant
// [MinTTL], one second, which is the least that etcd can express; with default settings
// they grant two. Make the TTL a parameter of your code and test with that, or in
// virtual time with the one from production:
//
//	func TestWorkerStopsBeforeAnotherStarts(t *testing.T) {
//		t.Parallel()
//		conclavetest.VirtualCluster(t, func(t *testing.T, cluster *conclavetest.Cluster) {
//			network := cluster.Network(t)
//			first := start(t, network.Client(t), 10*time.Second)
//			cluster.AwaitHolder(t, "job")
//			second := start(t, cluster.Client(t), 10*time.Second)
//			cluster.AwaitWaiters(t, "job", 1)
//
//			network.Cut()
//			for range 110 {
//				conclavetest.Advance(100 * time.Millisecond)
//				require.False(t, first.working.Load() && second.working.Load())
//			}
//			require.True(t, second.working.Load())
//		})
//	}
//
// The files example_test.go and example_redis_test.go have these, and one for each
// other fault.
//
// # Virtual time
//
// A bubble of [testing/synctest] has a clock of its own, which stands still while any
// goroutine of the bubble runs and jumps to the next timer when all wait. The
// server, its clients and the code under test run in it. Its rules:
//
//   - Everything the test uses (clients, sessions, contexts, channels) is made inside the
//     function, and nothing there waits for a network or a file.
//   - Every goroutine has to end before the function's cleanups are over: cancel and wait
//     for what you start, with t.Cleanup at the latest. Clients, network and server
//     end by themselves after that.
//   - Inside the function, t.Run and t.Parallel are not allowed. Outside, tests in virtual
//     and in real time may be parallel.
//   - A mutex whose holder waits for something stops the clock as soon as somebody else
//     wants it; a test that is stuck that way hangs until go test's -timeout.
//   - Goroutines that become ready at the same instant run in any order.
//
// # Parallel tests and goroutines
//
// Clusters have their own ports, directories and networks, so tests may run in
// parallel. Tests may also share one, made in TestMain by [StartCluster], if they use
// different names and leave the members alone. Everything that is started for a test ends
// with it. [Main] finds what the test itself has left running.
//
// Cleanups run last in, first out: whatever is made after a network is closed before
// the network is healed. Closing a session that is cut off waits for its context, or up
// to a TTL; call Heal first.
//
// # Cost
//
// On a busy machine of two cores a cluster starts in 0.1 s, with one member or three, and
// needs a few megabytes; three Redis servers need less than a millisecond. A cluster in
// virtual time starts in 20 ms, and an hour of its time takes 0.3 s.
//
// # What it is not
//
// Members write their data without syncing it to disk, elections take a tenth of the
// usual time, and everything is on one machine: nothing here measures performance or
// durability. In virtual time there is one member, and no message takes time.
// The suspension of a whole process, which is the one thing that no lock can help
// against, needs a real process: start your program and send it SIGSTOP. Redis is
// miniredis, which has no replication and persists nothing.
//
// Importing this package starts nothing, but it brings in the etcd server: import
// it only in tests and demonstrations. It also sets one variable of clientv3, a channel
// that is never closed, to nil, which means the same: a channel made outside a bubble
// would stop virtual time.
package conclavetest
