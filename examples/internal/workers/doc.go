// Package workers is what the examples do with the processes that they start, beyond
// what package process does: it puts what they report in the order in which it happened,
// and waits for what is to happen.
package workers
