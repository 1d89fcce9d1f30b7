// Package redislocks is about locks on Redis: how long it takes to lock and unlock what is
// free, how soon a lock that is released is another's, how often it is, and what a node
// costs that hangs. Package compare says what each library gives and lacks.
//
// All have the same TTL, and clients of their own, as processes have. redislock works on
// one node only. A lock is passed on after a random time, so that a release falls anywhere
// between two tries of those who poll.
package redislocks
