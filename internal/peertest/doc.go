// Package peertest has what the tests of packages on a session share: a process as the
// others see it, with a client, a network and a session of its own; and what an
// operator does to keys and leases.
package peertest
