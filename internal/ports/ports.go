// Package ports finds ports for servers that tests and programs start on this machine, and keeps
// them from others for as long as they may be needed.
package ports

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"syscall"
)

// Range is where ports are looked for. Those of this package are below the ephemeral ranges of
// Linux (32768) and macOS (49152): the kernel gives them to nobody by itself, so that a port found
// free stays free until the server binds it, and while a stopped one is to come back to it.
type Range struct{ first, last int }

// Redis is for Redis servers, of which one of a Redis Cluster also binds the port 10,000 above
// its own, which so is nobody else's; Etcd for members of etcd.
//
//nolint:gochecknoglobals // they are constants
var (
	Redis = Range{11_000, 15_000}
	Etcd  = Range{25_000, 32_000}
)

// kept are those in use by this process, those of stopped servers included. Each is kept by a UDP
// socket of the same number, so that another process finds it taken while nobody listens there
// yet, or nobody does at the moment.
//
//nolint:gochecknoglobals // there is one set of ports per process
var kept = struct {
	sync.Mutex
	by map[int]net.PacketConn
}{by: make(map[int]net.PacketConn)}

// Keep finds n ports on the loopback address that are free, all different, and keeps them until
// [Release].
func (r Range) Keep(n int) ([]int, error) {
	var found []int
	for range r.last - r.first {
		if len(found) == n {
			return found, nil
		}
		if port := r.first + rand.IntN(r.last-r.first); keep(port) {
			found = append(found, port)
		}
	}
	Release(found...)
	return nil, fmt.Errorf("no %d free ports from %d to %d", n, r.first, r.last)
}

// keep keeps a port, if it is free.
func keep(port int) bool {
	addr := net.IPv4(127, 0, 0, 1)
	udp, err := net.ListenUDP("udp4", &net.UDPAddr{IP: addr, Port: port})
	if err != nil {
		return false
	}
	tcp, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: addr, Port: port})
	if err != nil {
		_ = udp.Close()
		return false
	}
	_ = tcp.Close()
	kept.Lock()
	defer kept.Unlock()
	kept.by[port] = udp
	return true
}

// Release gives ports back, those that are kept.
func Release(ports ...int) {
	kept.Lock()
	defer kept.Unlock()
	for _, port := range ports {
		if udp := kept.by[port]; udp != nil {
			_ = udp.Close()
			delete(kept.by, port)
		}
	}
}

// Taken reports whether a server did not start because another program has its port.
func Taken(err error) bool { return errors.Is(err, syscall.EADDRINUSE) }

// Address returns a port's address on the loopback interface.
func Address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// Of returns the port of such an address, 0 of another.
func Of(address string) int {
	_, port, _ := net.SplitHostPort(address)
	n, _ := strconv.Atoi(port)
	return n
}
