// Package compare measures what other lock libraries do where Conclave promises
// something. A test runs the other library as it is published, with the settings it comes
// with unless the test says otherwise, and shows what a caller gets; a release that
// behaves differently fails the test, and the claim that rests on it can be taken back.
// Benchmarks let the libraries take turns on the same servers and report ratios.
// Package leaderelection, below this one, does the same for elections.
//
// It is a module of its own, outside go.work, so that the versions these libraries
// require never choose those that Conclave is built and tested with. Run it in its folder
// with GOWORK=off.
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
// rueidislock is not compared yet.
package compare
