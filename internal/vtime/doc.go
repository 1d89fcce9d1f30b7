// Package vtime runs tests against a real etcd server in virtual time.
//
// [Run] starts one etcd member, the genuine etcdserver with its raft log and bbolt file, inside a testing/synctest
// bubble, and connects clients to it over in-memory pipes. Everything with a timer, from the server's lease expiry
// and its 100 ms loop for unsynced watchers to grpc's back-off, follows the bubble's clock, which stands still
// while anything runs and jumps to the next timer when everything waits. A lease's hours take less than
// a second each, an assertion can name the millisecond, and the scheduler's mood cannot fail a test.
//
//	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
//		client, cut := s.CutClient()
//		// ...
//		cut.Cut()
//		vtime.Advance(10 * time.Second)
//		cut.Heal()
//	})
//
// A [Cut] takes a client's connections through what a network does to them: silence in one or both directions, with
// the bytes lost ([Cut.Cut]) or delivered late ([Cut.Hold]), and resets. [Server.Stop] and [Server.Start] are a
// server's crash and return.
//
// # What it is not
//
// One member: no elections among members, no follower reads; package etcdtest has those, in real time. No
// suspension of processes. And a goroutine in a system call, in cgo or waiting for a mutex keeps the clock from
// moving: a test that is stuck that way hangs in real time, and only go test's -timeout ends it.
//
// Runs are reproducible in time, not in order: goroutines that become runnable at the same virtual instant run in any
// order, and grpc and etcd draw random back-off and election time-outs. Seed what a test draws itself.
//
// # Rules of a bubble
//
//   - Everything a test uses (clients, sessions, contexts with a deadline, channels) is made inside fn; parameters and
//     results cross the border as plain values.
//   - Every goroutine must end before fn's clean-ups do, or synctest reports a deadlock with all stacks. [Run]
//     closes clients and server itself, after fn and after every function that fn gave to t.Cleanup.
//   - Inside fn, t.Run and t.Parallel are not allowed, and t.Context ends just before the clean-ups run. Outside, any
//     test may be parallel, with others in virtual or in real time.
//   - A lock held across a blocking call, in the code under test, stops time for whoever else wants it.
//
// # What it borrows
//
// clientv3 opens each watch stream under a context whose Done channel is the package variable valCtxCh, made when the
// process starts and never closed. A goroutine that waits for a channel from outside its bubble does not count as
// waiting, so the first watch would stop virtual time for good. This package sets that variable to nil when it is
// initialized, through go:linkname: a nil Done channel says the same, "never", belongs to no bubble, and changes
// nothing for clients in real time; so neither a lock nor a phase of its own is needed. A canary test fails when
// clientv3 no longer has the variable, and so does [Run].
//
// # Cost
//
// On a 2-core machine a Run takes about 6 ms and an hour of virtual time 0.15 s, nearly all of it for etcd's own tickers
// (it resyncs watchers and ticks raft ten times a second); with the race detector 22 ms and 0.5 s.
package vtime
