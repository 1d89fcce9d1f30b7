// Registry has gRPC servers register in etcd and clients find them there. Servers are
// added, drained and killed while calls go on, and etcd itself is stopped for longer
// than the leases last: clients keep using the last known addresses, and every registration
// is restored.
//
//	go run ./examples/registry               # all of that, on an embedded etcd
//	go run ./examples/registry -ttl 10s -callers 16
//	go run ./examples/registry -endpoints https://etcd.example:2379 -cacert ca.pem
//
// program.go is to be copied: a server and a client, which need none of the other files.
//
//	go run ./examples/registry server -endpoints localhost:2379    # once or more
//	go run ./examples/registry client -endpoints localhost:2379
//
// show.go runs copies of the server as processes, does things to them and counts calls.
// The exit code is 1 if a call failed that should not have.
package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/conclave-go/conclave/examples/internal/cluster"
	"github.com/conclave-go/conclave/examples/internal/program"
	"github.com/conclave-go/conclave/examples/internal/screen"
	"github.com/conclave-go/conclave/examples/internal/theatre"
	"github.com/conclave-go/conclave/internal/process"
)

func main() {
	process.Main(map[string]process.Role{"server": runServer})
	if len(os.Args) > 1 && (os.Args[1] == "server" || os.Args[1] == "client") {
		program.Exit("registry", serviceMain(os.Args[1], os.Args[2:]))
	}
	program.Exit("registry", run(context.Background(), os.Args[1:], os.Stdout))
}

// run is the show as its user sees it.
func run(ctx context.Context, args []string, out *os.File) error {
	s := &show{servers: make(map[string]*process.Process), tally: make(map[string]int)}
	etcd, err := s.parse(args, out)
	if err != nil {
		return err
	}
	slog.SetDefault(slog.New(slog.DiscardHandler)) // the clients' log would disturb the picture
	ctx, s.end = program.Interruptible(ctx)
	if s.etcd, err = cluster.Open(ctx, etcd); err != nil {
		return program.CauseOr(ctx, err)
	}
	s.Script = theatre.Script{Acts: screen.NewActs(out, s.end), Patience: patience + 3*s.ttl}
	if s.plain || s.verbose {
		s.Plain()
	}
	s.Printf("%d callers, TTL %s, %s\n", s.callers, s.ttl, s.etcd)
	s.service += rand.Text()[:8]
	err = program.CauseOr(ctx, s.perform(ctx))
	return errors.Join(err, s.etcd.Remove(ctx, s.service+"/"), s.etcd.Close())
}

// parse reads the command line. The error is [flag.ErrHelp] if that was asked for,
// and has been given, or a usage error.
func (s *show) parse(args []string, out io.Writer) (*cluster.Flags, error) {
	fs := flag.NewFlagSet("registry", flag.ContinueOnError)
	// The default is the shortest that etcd with its default election timeout grants.
	fs.DurationVar(&s.ttl, "ttl", 2*time.Second, "TTL of the servers' leases, whole seconds")
	fs.IntVar(&s.callers, "callers", 4, "`number` of clients that call constantly")
	fs.BoolVar(&s.plain, "plain", false, "plain lines, as in a pipe or with NO_COLOR")
	fs.BoolVar(&s.verbose, "v", false, "plain lines, also of all that the servers log")
	fs.StringVar(&s.service, "prefix", "conclave-registry/", "prefix of the `keys` in etcd")
	etcd := cluster.Register(fs)
	return etcd, program.Help{
		Usage: "usage: registry [-ttl 2s] [-callers 4] [flags]; -h explains them",
		About: `gRPC servers register in etcd, and clients call them constantly. One server is
drained, one is killed, and finally etcd is stopped and restarted, unless it is
yours (-endpoints). Flags about etcd take their defaults from etcdctl's variables,
-endpoints from ETCDCTL_ENDPOINTS. "registry server" and "registry client" are a
server and a client by themselves, with their own flags (-h).`,
	}.Parse(fs, args, out, func() error {
		if s.callers < 1 || s.callers > 100 {
			return fmt.Errorf("-callers %d: must be 1 to 100", s.callers)
		}
		return cmp.Or(program.Positive(fs), etcd.Check(s.ttl))
	})
}
