// Handover lets processes hand a lock to each other and shows how: who holds it, with which
// token, who waits for whom, and how long each hand-over took; also when the holder is
// killed, paused or cut off, and with etcd's own clientv3/concurrency instead.
//
//	go run ./examples/handover                             # six acts, on an embedded etcd
//	go run ./examples/handover -acts conclave -copies 8 -duration 10s
//	go run ./examples/handover -acts partition,official-partition
//	go run ./examples/handover -html handover.html
//	go run ./examples/handover -endpoints localhost:2379   # the program itself, once or more
//
// program.go is to be copied, and needs none of the other files; official.go does the same
// with etcd's lock, to compare. show.go does things to copies of both. The exit code is 1 if
// two ever held Conclave's lock at once, the next one came late, or a number was lost.
package main

func main() { new(show).play().Main() }
