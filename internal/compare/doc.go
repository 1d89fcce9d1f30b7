// Package compare is about other libraries beside Conclave. It is a module of its own,
// outside go.work, so that the versions these libraries require never choose those that
// Conclave is built and tested with. Run it in its folder with GOWORK=off.
//
// Tests, here and in package leaderelection below, show what other libraries do where
// Conclave promises something. Each runs the library as it is published, with the settings
// it comes with unless the test says otherwise; a release that behaves differently fails
// the test, and the claim that rests on it can be taken back. Package chaos puts them under
// the faults of the fault lab.
//
// Command compare, below cmd, measures: libraries do the same works, which the packages
// below works have, in turn on the same servers, and ratios are recorded in
// docs/performance. Package perf is what does that, and perf/draw makes charts of the
// records with package chart. Command capacity measures what sessions, locks and watchers
// cost. The benchmarks here let libraries on Redis take turns too; they are for work on a
// single one, with its profile.
//
// A new work is a value of perf.Work, in a package below works and in its function Works.
//
// # What is compared with what
//
// No other library here gives what package redlock does on one node, so that times alone
// say little:
//
//	                                          redlock  redsync  redislock
//	compares before it deletes                yes      yes      yes
//	says until when the lock is valid         yes      yes      no
//	renews locks by itself                    yes      no       no
//	ends a context when the lock is lost      yes      no       no
//	returns with its context, server hanging  yes      no       no
//	recognises its key after a lost reply     yes      no       yes
//	wakes waiters at the release              yes      no       no
//	several nodes                             yes      yes      no
//
// Beside redislock as it is (redislock) the benchmark of the free lock therefore has
// redislock with the goroutine for renewal that its documentation describes
// (redislock-watchdog), and that with calls that return when their context ends
// (redislock-watchdog-prompt), which is the nearest to redlock. redsync-tuned is redsync
// that returns with the answers of a majority (WithFailFast), on clients that honour
// contexts (ContextTimeoutEnabled).
//
// rueidislock is not compared: the Go module proxy has none of its versions.
package compare
