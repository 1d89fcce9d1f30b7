// Failover lets processes stand for election and shows what happens when the leader is
// killed, paused, cut off, resigns or gives its term to another: who leads, in which term,
// who waits in which order, and how long it took until the next led.
//
//	go run ./examples/failover                             # five acts, then the keys are yours
//	go run ./examples/failover -acts crash,partition -times 5
//	go run ./examples/failover -html failover.html
//	go run ./examples/failover -endpoints localhost:2379   # the program itself, once or more
//
// program.go is to be copied, and needs none of the other files. show.go does things to
// copies of it. The exit code is 1 if two led at once before their deadlines, if a
// term's number was not higher than the one before, if the next leader came late, or if etcd
// accepted a write of a former one.
package main

func main() { new(show).play().Main() }
