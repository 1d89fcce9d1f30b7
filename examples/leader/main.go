// Leader is the smallest program with one leader: a copy works once a second while it leads;
// the next copy takes over at once if the leader is stopped, or, after a crash, when its lease
// has expired.
//
//	go run ./examples/leader                               # copies are killed, ended and paused
//	go run ./examples/leader -ttl 10s
//	go run ./examples/leader -endpoints localhost:2379     # the program itself, once or more
//
// program.go is to be copied, and needs none of the other files. show.go does things to
// copies of it. The exit code is 1 if two ever led at once, or the next one came late.
package main

import "github.com/conclave-go/conclave/examples/internal/theatre"

func main() {
	(&theatre.Play{
		Name: "leader",
		About: `Three copies of a program stand for election. The leader is killed, stopped
and paused; each time another takes over, and there are never two. With -endpoints,
or ETCDCTL_ENDPOINTS, this is one copy of the program on your own etcd.`,
		Program: leaderMain, Owner: theatre.Leader("scheduler"), Acts: acts,
	}).Main()
}
