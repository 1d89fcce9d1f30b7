//go:build race

package shards

// clientGo leaves client-go out: it takes minutes to compile with the race detector.
func clientGo() []way { return nil }
