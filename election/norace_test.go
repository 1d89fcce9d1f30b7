//go:build !race

package election_test

import "time"

const (
	churnSeeds = 2
	churnSize  = 50 // candidates
	churnLasts = 6 * time.Second
	partitions = 50
)
