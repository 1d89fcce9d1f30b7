// Chaos puts locks under faults and says whether they kept their promises: locks on
// etcd, a lock on Redis and Redlock side by side, and some that are known to break.
// Workers, members of etcd and Redis servers are processes, which are stopped, killed
// and cut off one by one.
//
//	go run ./examples/chaos                       # every scenario, some minutes
//	go run ./examples/chaos -list                 # what there is
//	go run ./examples/chaos -only cut,pause       # those with these words in their names
//	go run ./examples/chaos -html report.html     # with a time line for each lock
//	go run ./examples/chaos -duration 8h          # random compositions, until one breaks
//	go run ./examples/chaos -replay chaos-7.json  # again
//
// It ends with code 1 if a promise was broken, or if it did not see what it must see.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/conclave-go/conclave/examples/internal/program"
	"github.com/conclave-go/conclave/examples/internal/report"
	"github.com/conclave-go/conclave/internal/chaos"
)

func main() {
	chaos.Main(nil)
	program.Exit("chaos", run(context.Background(), os.Args[1:], os.Stdout))
}

// run is the program as its user sees it.
func run(ctx context.Context, args []string, out *os.File) error {
	o, err := parse(args, out)
	if err != nil {
		return err
	}
	if o.list {
		_, err := fmt.Fprint(out, list())
		return err
	}
	page, err := report.Open(*o.html)
	if err != nil {
		return program.Misuse(err, usage)
	}
	events, err := openHistory(o.json)
	if err != nil {
		return errors.Join(program.Misuse(err, usage), page.Close())
	}
	ctx, end := program.Interruptible(ctx)
	defer end(nil)
	r := &runner{options: o, out: out, end: end, command: "chaos " + strings.Join(args, " ")}
	found, err := r.play(ctx)
	err = program.CauseOr(ctx, err)
	if found != nil {
		err = errors.Join(err, r.conclude(found, page, events))
	}
	return errors.Join(err, events.Close(), page.Close())
}

// openHistory opens the file of -json, so that a run does not end with a path that
// cannot be written.
func openHistory(path string) (*os.File, error) {
	if path == "" {
		return os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("-json: %w", err)
	}
	return f, nil
}
