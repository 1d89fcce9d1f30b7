//go:build race

package election_test

import "time"

// The race detector makes everything several times slower.
const (
	churnSeeds = 1
	churnSize  = 20
	churnLasts = 3 * time.Second
	partitions = 15
)
