// Tenants keeps the products of tenants as they should be, within what a policy allows
// each tenant. Three replicas of a controller run; one is elected and does the work.
// Policies reach the replicas by pushes, which may come twice, in the wrong order or not
// at all, and by pulls from time to time; a policy that is missed is read once for all
// who ask.
//
//	go run ./examples/tenants               # on an embedded etcd
//	go run ./examples/tenants -ttl 10s -pull 5s
//	go run ./examples/tenants -endpoints https://etcd.example:2379 -cacert ca.pem
//
// policies.go is the cache of policies, controller.go the controller, replica.go puts
// them under an election. The replicas are processes of this program; the other files
// change what is wanted and what is allowed, kill the leader, and look on. The exit code
// is 1 if a replica went back to an older policy, read one policy twice because it was
// missed, or if in the end the products are not what they should be.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"os"

	"github.com/conclave-go/conclave/examples/internal/cluster"
	"github.com/conclave-go/conclave/examples/internal/program"
	"github.com/conclave-go/conclave/examples/internal/screen"
	"github.com/conclave-go/conclave/internal/process"
)

func main() {
	process.Main(map[string]process.Role{replicaRole: runReplica})
	program.Exit("tenants", run(context.Background(), os.Args[1:], os.Stdout))
}

// run is the program as its user sees it.
func run(ctx context.Context, args []string, out *os.File) (err error) {
	o, err := parse(args, out)
	if err != nil {
		return err
	}
	ctx, end := program.Interruptible(ctx)
	defer end(nil)
	defer func() { err = program.CauseOr(ctx, err) }()
	c, err := cluster.Open(ctx, o.etcd)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	v := screen.NewActs(out, end)
	v.Printf("3 replicas, TTL %s, a pull every %s, %s\n", o.ttl, o.pull, c)
	o.prefix += rand.Text()[:8]
	defer func() { err = errors.Join(err, c.Remove(ctx, o.prefix)) }()
	p, err := openPlay(ctx, end, c, o, v)
	if err != nil {
		return err
	}
	err = p.perform(ctx)
	return errors.Join(err, p.close(ctx))
}
