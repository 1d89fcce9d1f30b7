// Package shards is about work that is divided among members: how long a shard has no
// owner, or two, when a member joins, leaves in order or is cut off, how many shards move,
// and how long it takes until all is in its place.
//
// The peers are what teams write by hand: a hash ring over a cache of who is a member,
// without locks, as users of dskit and memberlist have it; and the same ring with a Lease
// of client-go's for each shard, with the timings of package leaderelection. A TTL, or
// lease duration, is 3 s for all.
//
// All members run in one process and read one clock, each with a connection of its own. A
// shard is served from when its function is called until that returns or its context ends.
package shards
