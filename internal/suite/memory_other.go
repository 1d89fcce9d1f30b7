//go:build !linux

package suite

// inMemory returns "": there is none.
func inMemory() string { return "" }
