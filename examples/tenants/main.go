// Tenants keeps the products of tenants as they should be, within what a policy allows
// each tenant. Three replicas of a controller run; one is elected and does the work.
// Policies reach the replicas by pushes, which may come twice, out of order or not at
// all, and by periodic pulls; a policy that is missing is read once for all who ask.
//
//	go run ./examples/tenants                               # policies and wishes change, the leader is killed
//	go run ./examples/tenants -ttl 10s -pull 5s
//	go run ./examples/tenants -endpoints localhost:2379     # the program itself, once or more
//
// program.go and policies.go are to be copied, the controller and the cache of policies,
// and need none of the other files. show.go changes what copies of the program find in
// etcd, and kills the leader. The exit code is 1 if a replica went back to an older policy,
// fetched a missing policy twice, if an old leader's order arrived after a newer leader's,
// or if in the end the products are not as they should be.
package main

import "github.com/conclave-go/conclave/examples/internal/theatre"

func main() {
	var s show
	(&theatre.Play{
		Name: "tenants",
		About: `Replicas of a controller, of which one is elected, keep the products of tenants as
they should be, within what policies allow. Policies change, pushes of them are
repeated, mixed up and lost, and the leader is killed. With -endpoints, or
ETCDCTL_ENDPOINTS, it is one replica on your own etcd.`,
		Program: tenantsMain, Flags: s.flags, Acts: s.acts,
	}).Main()
}
