//go:build !unix

package main

// processesWith knows no processes here.
func processesWith(string) []string { return nil }
