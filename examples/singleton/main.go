// Singleton is a service in which only one instance serves at a time. The other replicas stand
// by and take over: at once when the active one is told to end, and when its lease has expired
// if it crashed.
//
//	go run ./examples/singleton                            # replicas are killed, ended and paused
//	go run ./examples/singleton -ttl 10s
//	go run ./examples/singleton -endpoints localhost:2379 -listen localhost:8080
//
// program.go is to be copied, and needs none of the other Go files; deployment.yaml runs it
// on Kubernetes. show.go does things to copies of the program. The exit code is 1 if two
// ever served at once, or the next one came late.
package main

import "github.com/conclave-go/conclave/examples/internal/theatre"

func main() {
	(&theatre.Play{
		Name: "singleton",
		About: `Two replicas of a service: one serves, the other stands by. The one that serves is
stopped, killed and paused; each time the other takes over, and the two never serve at once.
With -endpoints, or ETCDCTL_ENDPOINTS, this is one replica on your own etcd.`,
		Program: singletonMain, Owner: theatre.Leader("singleton"), Acts: acts,
	}).Main()
}
