// Rollout updates a configuration that readers in several clusters use. It consists of
// three keys that must fit together. A writer takes the lock, reads all keys, merges its
// change, validates the result, and writes all keys in one transaction that the lock
// guards, so no reader ever sees a partial update, no matter when a writer dies. Each
// reader reports the version that it has applied, under a lease, and the writer of a new
// version waits until all live readers have reported it.
//
//	go run ./examples/rollout                              # readers and writers, killed, paused and cut off
//	go run ./examples/rollout -endpoints localhost:2379 -reader eu/1
//	go run ./examples/rollout -endpoints localhost:2379 -set '{"routes": {"blue": 100}}'
//
// program.go, writer.go and config.go are to be copied: a reader, a writer, and what fits
// together. They need none of the other files. show.go does things to copies of the program.
// The exit code is 1 if there ever was a mixture of versions.
package main

import "github.com/conclave-go/conclave/examples/internal/theatre"

func main() {
	var s show
	(&theatre.Play{
		Name: "rollout",
		About: `Writers update a configuration of three keys that readers in three clusters use.
Two write at once, some are killed at different steps, two are refused, and one waits
for a slow reader, but not for a dead one. With -endpoints, or
ETCDCTL_ENDPOINTS, it is one reader or writer on your own etcd.`,
		Program: rolloutMain, Acts: s.acts,
	}).Main()
}
