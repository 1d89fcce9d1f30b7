//go:build race

package lock_test

// scale divides the number of random scenarios: the race detector makes them several
// times as long, and looks at the same code in each.
const scale = 5
