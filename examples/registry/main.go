// Registry has gRPC servers register in etcd and clients find them there. Servers are
// added, drained and killed while calls go on, and etcd itself is stopped for longer
// than the leases last: the clients go on with what they know, and every registration
// comes back.
//
//	go run ./examples/registry               # all of that, on an embedded etcd
//	go run ./examples/registry -ttl 10s -callers 16
//	go run ./examples/registry -endpoints https://etcd.example:2379 -cacert ca.pem
//
// server.go is what a server does to be found and to leave, fleet.go (connect) how gRPC
// clients find it. The servers are processes of this program; the other files start
// them, do things to them, and count the calls. The exit code is 1 if a call failed
// that should not have.
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
	process.Main(map[string]process.Role{serverRole: runServer})
	program.Exit("registry", run(context.Background(), os.Args[1:], os.Stdout))
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
	v := &view{screen.NewActs(out, end)}
	v.Printf("%d callers, TTL %s, %s\n", o.callers, o.ttl, c)
	o.prefix += rand.Text()[:8] + "/"
	defer func() { err = errors.Join(err, c.Remove(ctx, o.prefix)) }()
	f, err := openFleet(ctx, end, c, o)
	if err != nil {
		return err
	}
	p := &play{fleet: f, etcd: c, view: v, callers: newCallers(f.conn), options: o}
	err = p.perform(ctx)
	p.callers.stop()
	err = errors.Join(err, f.close(ctx))
	v.table(p.results)
	return err
}
