// Capacity measures what sessions, holds, waiters, cache keys and observers cost, and how
// much of them one etcd can serve. See docs/capacity.md.
//
//	go run ./cmd/capacity -out ../../docs/performance
//	go run ./cmd/capacity -quick
//	go run ./cmd/capacity -only 'hold|waiter' -max-holds 1000
//	go run ./cmd/capacity -from ../../docs/performance/capacity.csv -markdown
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/conclave-go/conclave/internal/compare/capacity"
	"github.com/conclave-go/conclave/internal/process"
	"github.com/conclave-go/conclave/internal/servers"
)

func main() {
	process.Main(map[string]process.Role{servers.MemberRole: servers.Member})
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "capacity:", err)
		os.Exit(1)
	}
}

// run is the program as its user sees it.
func run(ctx context.Context, args []string, out, progress io.Writer) error {
	o, err := parse(args, progress)
	if err != nil {
		return err
	}
	if o.list {
		for _, name := range capacity.Parts(o.cfg) {
			if _, err := fmt.Fprintln(out, name); err != nil {
				return err
			}
		}
		return nil
	}
	rows, err := o.rows(ctx)
	if ctx.Err() != nil {
		return err
	}
	if o.out != "" {
		var failed error
		rows, failed = o.save(rows)
		err = errors.Join(err, failed)
	}
	write := capacity.Text
	if o.markdown {
		write = capacity.Markdown
	}
	return errors.Join(err, write(out, rows))
}

// rows measures, or reads what was measured.
func (o options) rows(ctx context.Context) ([]capacity.Row, error) {
	if o.from == "" {
		return capacity.Run(ctx, o.cfg, o.only.MatchString)
	}
	return read(o.from)
}

// read reads a file of figures.
func read(name string) ([]capacity.Row, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // read only
	return capacity.Read(f)
}

// save writes figures and charts. Figures that were not measured this time stay, and are
// among those it returns.
func (o options) save(rows []capacity.Row) ([]capacity.Row, error) {
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return rows, err
	}
	file := filepath.Join(o.out, "capacity.csv")
	if old, err := read(file); err == nil {
		rows = capacity.Merge(old, rows)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return rows, err
	}
	charts, err := capacity.Charts(rows)
	if err != nil {
		return rows, err
	}
	for name, svg := range charts {
		if err := replace(filepath.Join(o.out, name), func(w io.Writer) error {
			_, err := w.Write(svg)
			return err
		}); err != nil {
			return rows, err
		}
	}
	return rows, replace(file, func(w io.Writer) error { return capacity.Write(w, rows) })
}

// replace puts a file in place once it is complete.
func replace(name string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".capacity-")
	if err != nil {
		return err
	}
	err = errors.Join(write(f), f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
