//go:build unix && !linux

package main

// peerClosed is none here: a socket is closed when both of its directions are.
const peerClosed = 0
