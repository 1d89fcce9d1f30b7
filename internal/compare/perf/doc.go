// Package perf lets libraries do the same work in turn, on the same servers and in one
// run, and says how many times better Conclave is than each of the others: by ratios with
// their spread, since times alone speak of the machine.
package perf
