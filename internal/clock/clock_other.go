//go:build !linux

package clock

// suspensionCounts is false: this package reads no counting clock here.
const suspensionCounts = false

func readCounting() Instant { return sinceStart() }
