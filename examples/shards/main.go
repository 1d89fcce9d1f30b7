// Shards divides work among members: each shard has one owner at a time, who counts for
// it in etcd, and goes from member to member as they come and go.
//
//	go run ./examples/shards                                        # members come, go, crash and are cut off
//	go run ./examples/shards -members 8 -shards 1000
//	go run ./examples/shards -endpoints localhost:2379 -name a      # the program itself; each copy has its own -name
//
// program.go is to be copied, and needs none of the other files. show.go does things to
// copies of it. The exit code is 1 if a shard ever had two owners, a token that did not
// rise, or a count that was lost.
package main

import "github.com/conclave-go/conclave/examples/internal/theatre"

func main() {
	var s show
	(&theatre.Play{
		Name: "shards",
		About: `Members share shards among themselves. One joins, one leaves, one is killed, one
is cut off; as few shards as possible move, and none ever has two owners. With
-endpoints, or ETCDCTL_ENDPOINTS, this is one member on your own etcd.`,
		Program: shardsMain, Flags: s.flags, Acts: s.acts,
	}).Main()
}
