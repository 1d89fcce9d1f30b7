// Package capacity measures what sessions, holds, waiters, cache keys and observers cost
// the process that has them and the etcd that keeps them, and how much of them one etcd
// can serve.
//
// # What is measured
//
// A load is something of which a fleet has many. Each load has an etcd member to itself,
// in a process of its own. It grows in steps, from none; at each size it is left alone for
// a few rounds of its sessions, and what has grown since there was none is its cost at
// that size: memory of client and server, what goes on while nothing happens, and the
// size of the store. A line is fitted to the sizes, by least squares: what the first costs
// and what each one more costs. The square of the correlation tells how much of a line it is.
//
// An operation is done some thousand times, one after another, and its part of the
// revisions, log entries, bytes and CPU time is its cost.
//
// A stair is a load that doubles: workers that lock and unlock, or sessions to renew. Its
// knee is the step from which on no more load brings a tenth more throughput.
//
// # What the figures are not
//
// Client and server share the machine, and one client process stands for a fleet. So the
// knee is that of the machine; two machines come further. A memory figure is of what the
// Go runtime has in use for heap and stacks after a collection, and the resident memory of
// the server, which includes garbage it has not collected.
package capacity
