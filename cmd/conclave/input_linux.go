package main

import "golang.org/x/sys/unix"

// peerClosed is the event that nothing more comes from a socket. A pipe needs none.
const peerClosed = unix.POLLRDHUP
