//go:build !race

package election_test

import "time"

const (
	churnSeeds = 2
	churnSize  = 50 // candidates
	churnLasts = 6 * time.Second
	partitions = 50
	// duelTTL has to last until a leader is cut off.
	duelTTL = 3 * time.Second
)
