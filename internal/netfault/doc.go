// Package netfault is a TCP proxy that breaks connections on command. It runs
// in the process of the test, needs no privileges, and gives every client its
// own broken network: start one [Proxy] per client and server, dial
// [Proxy.Addr] instead of the server.
//
// # The model
//
// Faults add up until [Proxy.Heal] removes all of them: BlackholeToServer
// followed by BlackholeToClient is Blackhole, and a Delay and a Rate may go with either.
// Every method returns at once; none of them waits for traffic.
//
// A blackhole holds bytes, it does not discard them. That is what a short
// partition does to TCP: the kernel retransmits, and what was written during
// the partition arrives after it. After at most 2 MiB each way the proxy stops
// reading, so a writer fills the socket buffers and then blocks, as in a real
// partition. An end of stream is held like any byte.
//
// # What is exact and what is not
//
//   - Bytes sent after a fault method returned are subject to the fault. Bytes
//     that were already on their way through the proxy may still come out
//     during the following microseconds.
//   - A new connection is always accepted, since the kernel does that; under a
//     blackhole or [Proxy.HalfOpen] the server sees it only after the heal.
//   - [Proxy.Refuse] therefore accepts and resets at once. A client sees
//     "connection reset" where a closed port would say "connection refused".
//   - A rate is that of a line which all connections share, in turns of up to 10 ms.
//     The 2 MiB that the proxy holds are its buffer, as in a router.
//   - Nothing below TCP is modelled: no loss, no reordering, no duplicates.
package netfault
