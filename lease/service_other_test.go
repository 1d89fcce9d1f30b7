//go:build !unix

package lease_test

// playService does nothing where there are no signals.
func playService() {}
