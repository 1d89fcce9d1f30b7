//go:build race

package watch_test

// scale divides the amount of work: the race detector makes it ten times as long.
const scale = 10
