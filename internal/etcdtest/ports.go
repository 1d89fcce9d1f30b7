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

// ports are those in use by this process, stopped members' included. Another
// process is noticed only by a failing bind.
//
//nolint:gochecknoglobals // there is one set of ports per process
var ports = struct {
	sync.Mutex
	taken map[int]struct{}
}{taken: make(map[int]struct{})}

// freePorts reserves n ports until releasePorts.
func freePorts(n int) ([]int, error) {
	ports.Lock()
	defer ports.Unlock()
	var found []int
	for range lastPort - firstPort {
		if len(found) == n {
			return found, nil
		}
		port := firstPort + rand.IntN(lastPort-firstPort)
		if _, taken := ports.taken[port]; taken || !canBind(port) {
			continue
		}
		ports.taken[port] = struct{}{}
		found = append(found, port)
	}
	for _, port := range found {
		delete(ports.taken, port)
	}
	return nil, fmt.Errorf("no %d free ports from %d to %d", n, firstPort, lastPort)
}

func releasePorts(list []int) {
	ports.Lock()
	defer ports.Unlock()
	for _, port := range list {
		delete(ports.taken, port)
	}
}

func canBind(port int) bool {
	ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
	if err != nil {
		return false
	}
	return ln.Close() == nil
}

func isPortTaken(err error) bool { return errors.Is(err, syscall.EADDRINUSE) }
