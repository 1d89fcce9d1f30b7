// Command conclave runs commands under locks, elections and registrations on etcd, and shows
// what there is. See docs/cli.md of the repository.
package main

import (
	"context"
	"os"
	"path/filepath"

	"github.com/conclave-go/conclave/cmd/conclave/internal/guard"
)

func main() {
	if filepath.Base(os.Args[0]) == guard.Name {
		os.Exit(guard.Main(os.Args[1:]))
	}
	a := &app{in: os.Stdin, out: os.Stdout, err: os.Stderr}
	os.Exit(a.run(context.Background(), os.Args[1:]))
}
