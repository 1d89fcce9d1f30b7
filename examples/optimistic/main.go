// Optimistic lets several workers change one number in etcd, in two ways: by compare-and-swap
// with retries, and under a lock. It measures both, side by side, for more and more workers,
// with and without work between the read and the write.
//
//	go run ./examples/optimistic                               # both ways, measured
//	go run ./examples/optimistic -work 50ms -duration 2s
//	go run ./examples/optimistic -endpoints localhost:2379     # the program itself: one of the two ways
//
// number.go has both ways, and program.go a program around them. They are to be copied, and
// need none of the other files. show.go runs copies of the program, one for each
// measurement. The exit code is 1 if one of the two ways has lost a change.
package main

import "github.com/conclave-go/conclave/examples/internal/theatre"

func main() {
	var s show
	(&theatre.Play{
		Name: "optimistic",
		About: `Several workers change one number in etcd, without a lock and under one. Both ways
are measured: how many changes a second, how often each was tried, how long the slow
ones took. With -endpoints, or ETCDCTL_ENDPOINTS, it is the program itself, which
changes numbers in your own etcd.`,
		Program: optimisticMain, Flags: s.flags, Acts: s.acts,
	}).Main()
}
