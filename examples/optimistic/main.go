// Optimistic has several at a time change one number in etcd, in two ways: by reading
// it and writing under the condition that nobody has written since, again and again
// until that is so; and under a lock. It measures both, beside each other, for more and
// more at a time, with and without work between the read and the write.
//
//	go run ./examples/optimistic                               # both ways, measured
//	go run ./examples/optimistic -work 50ms -duration 2s
//	go run ./examples/optimistic -endpoints localhost:2379     # the program itself: one of them
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
		About: `Several at a time change a number in etcd, without a lock and under one. Both are
measured: how many changes a second, how often each was tried, how long the slow
ones took. With -endpoints, or ETCDCTL_ENDPOINTS, it is the program itself, which
changes numbers in an etcd of yours.`,
		Program: optimisticMain, Flags: s.flags, Acts: s.acts,
	}).Main()
}
