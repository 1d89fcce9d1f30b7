package shard

import (
	"crypto/sha256"
	"encoding/binary"
)

const (
	// MaxShards is how many shards a group can have: a plan of them fits into a handful of
	// pieces.
	MaxShards = 1 << 16
	// MaxMembers is how many members a group can have, see [ErrFull].
	MaxMembers = 1000
)

// ID is the number of a shard: from 0 up to, but not including, the number of shards.
type ID uint32

// Of returns the shard that a key belongs to, out of the given number: the first eight
// bytes of the key's SHA-256, read as a big-endian number, modulo the number of shards. Any
// language can compute that. With 1,000 shards, "" is in 652, "a" in 250, "tenant-42" in
// 200 and "日本" in 331; with 64 they are in 20, 10, 8 and 11. It panics if shards is less
// than 1.
//
// The hash spreads keys evenly, whatever they have in common. A key stays in its shard as
// long as the number of shards is the same, so choose more shards than there will ever be
// members.
func Of(key string, shards int) ID {
	if shards < 1 {
		panic("shard: number of shards must be at least 1")
	}
	sum := sha256.Sum256([]byte(key))
	return ID(binary.BigEndian.Uint64(sum[:]) % uint64(shards))
}
