//go:build !race

package watch_test

// scale divides the amount of work.
const scale = 1
