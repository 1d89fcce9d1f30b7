package etcdtest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"syscall"
)

// Ports below the ephemeral ranges of Linux (32768) and macOS (49152): the
// kernel gives them to nobody by itself, so that a port found free stays free
// until the server binds it, and while a stopped member is to come back to it.
const (
	firstPort = 20_000
	lastPort  = 32_000
)

// ports are those in use by this process, stopped members' included. Each is kept by a UDP
// socket of the same number, so that another process that runs tests finds it taken
// while nobody listens there yet, or nobody does at the moment.
//
//nolint:gochecknoglobals // there is one set of ports per process
var ports = struct {
	sync.Mutex
	kept map[int]net.PacketConn
}{kept: make(map[int]net.PacketConn)}

// freePorts reserves n ports until releasePorts.
func freePorts(n int) ([]int, error) {
	var found []int
	for range lastPort - firstPort {
		if len(found) == n {
			return found, nil
		}
		if port := firstPort + rand.IntN(lastPort-firstPort); keepPort(port) {
			found = append(found, port)
		}
	}
	releasePorts(found)
	return nil, fmt.Errorf("no %d free ports from %d to %d", n, firstPort, lastPort)
}

// keepPort reserves a port, if it is free.
func keepPort(port int) bool {
	addr := net.IPv4(127, 0, 0, 1)
	kept, err := net.ListenUDP("udp4", &net.UDPAddr{IP: addr, Port: port})
	if err != nil {
		return false
	}
	ln, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: addr, Port: port})
	if err != nil {
		_ = kept.Close()
		return false
	}
	_ = ln.Close()
	ports.Lock()
	defer ports.Unlock()
	ports.kept[port] = kept
	return true
}

func releasePorts(list []int) {
	ports.Lock()
	defer ports.Unlock()
	for _, port := range list {
		if kept := ports.kept[port]; kept != nil {
			_ = kept.Close()
			delete(ports.kept, port)
		}
	}
}

func isPortTaken(err error) bool { return errors.Is(err, syscall.EADDRINUSE) }
