// Registry has gRPC servers register in etcd and clients find them there. Servers are
// added, drained and killed while calls go on, and etcd itself is stopped for longer
// than the leases last: clients keep using the last known addresses, and every registration
// is restored.
//
//	go run ./examples/registry                                      # all of that
//	go run ./examples/registry -ttl 10s -callers 16
//	go run ./examples/registry -endpoints localhost:2379            # a server itself, once or more
//	go run ./examples/registry -endpoints localhost:2379 -client    # a client
//
// program.go is to be copied: a server and a client, which need none of the other files.
// show.go does things to copies of the server and counts calls. The exit code is 1 if a
// call failed that should not have.
package main

import "github.com/conclave-go/conclave/examples/internal/theatre"

func main() {
	var s show
	(&theatre.Play{
		Name: "registry",
		About: `gRPC servers register in etcd, and clients call them constantly. One server is
drained, one is killed, and finally etcd is stopped and restarted. With -endpoints,
or ETCDCTL_ENDPOINTS, it is a server, or with -client a client, on your own etcd.`,
		Program: registryMain, Flags: s.flags, Acts: s.acts,
	}).Main()
}
