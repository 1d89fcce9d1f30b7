// Fencing guards a table of a SQL database, which knows nothing of etcd, with the
// tokens of a lock. A worker has looked at the stock of bolts and is about to sell
// some when its process is stopped, for longer than its lease lasts. Another worker
// gets the lock and sells. Then the first wakes up and writes: refused, because each
// statement says "AND token <= ?". Without these words its write undoes the sale.
//
//	go run ./examples/fencing                               # both
//	go run ./examples/fencing -unguarded                    # only without the condition
//	go run ./examples/fencing -endpoints localhost:2379 -db stock.db -sell 3
//
// program.go and stock.go are to be copied: how the lock reaches the statements, and the
// statements themselves. They need only a database driver, and none of the other files.
// show.go runs copies of the program on one SQLite file. The exit code is 1 if the outcome is
// not as described here.
package main

import "github.com/conclave-go/conclave/examples/internal/theatre"

func main() {
	var s show
	(&theatre.Play{
		Name: "fencing",
		About: `A lock's holder is stopped, wakes up too late, and writes to a SQL table. With
-endpoints, or ETCDCTL_ENDPOINTS, it is the program itself, which sells bolts.`,
		Program: fencingMain, Flags: s.flags, Acts: s.acts,
	}).Main()
}
