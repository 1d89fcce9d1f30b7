//go:build !linux

package perf

import "os"

func disk() (string, error) { return os.TempDir(), nil }

// FileSystem returns the kind of file system that a directory is on, where the system
// tells.
func FileSystem(string) string { return "unknown" }
