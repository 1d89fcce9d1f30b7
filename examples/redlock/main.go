// Redlock hands a lock on Redis servers around among processes, and shows where it holds
// and where it breaks: servers are killed, hang, come back without their keys, have their
// clocks jump, and a holder is paused past its TTL.
//
//	go run ./examples/redlock                              # all that, on five servers of its own
//	go run ./examples/redlock -acts restart,jump -ttl 5s
//	go run ./examples/redlock -servers 1                   # the plain lock
//	go run ./examples/redlock -nodes a:6379,b:6379,c:6379  # the program itself, once or more
//
// What the lock protects is a file of invoices, each with the next number: two holders at
// once give a number twice, and nothing could prevent that, since Redlock has no token for
// the file to check. Examples handover and fencing show the same faults with the lock on
// etcd, which has.
//
// program.go is to be copied, and needs none of the other files. show.go does things to
// copies of it and to the servers, and judge.go judges the outcome: the exit code is 1 if it is
// not what package redlock documents.
package main

import "github.com/conclave-go/conclave/internal/redistest"

func main() {
	redistest.Quiet() // go-redis would log each connection that breaks
	new(show).play().Main()
}
