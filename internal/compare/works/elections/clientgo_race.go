//go:build race

package elections

// clientGo leaves client-go out: it takes minutes to compile with the race detector.
func clientGo() []library { return nil }
