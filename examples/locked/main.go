// Locked runs a command under a lock, in the smallest form that is right: the command runs
// while the lock is held, is ended with it, and finds the token in its environment.
//
//	go run ./examples/locked                               # copies are killed and ended
//	go run ./examples/locked -ttl 10s
//	go run ./examples/locked -endpoints localhost:2379 reports ./report.sh
//
// program.go is to be copied, and needs none of the other files. It is for programs that
// run a command of their own. A command that is run for its own sake is better off under
// "conclave lock" (docs/cli.md), which does what this does not: it ends all that the
// command has started, before the deadline, and even when it is killed itself.
//
// show.go does things to copies of the program. The exit code is 1 if two ever held the
// lock at once, or the next one came late.
package main

import "github.com/conclave-go/conclave/examples/internal/theatre"

func main() {
	(&theatre.Play{
		Name: "locked",
		About: `Three copies of a program want to run a command under one lock. The one that does
is stopped, and the next is killed. With -endpoints, or ETCDCTL_ENDPOINTS, this is
one copy of the program on your own etcd: LOCK COMMAND [ARG...].`,
		Program: lockedMain, Owner: theatre.Holder("reports"), Acts: acts, Command: work,
	}).Main()
}
