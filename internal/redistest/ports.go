package redistest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"syscall"
)

const (
	// startTries is how many ports are tried: another program may take one first.
	startTries = 20
	// Ports below the ephemeral ranges of Linux (32768) and macOS (49152), and below
	// those of etcdtest: the kernel gives them to nobody by itself, so that a killed
	// node can come back to its own.
	firstPort = 12_000
	lastPort  = 20_000
)

// addresses are those of this process's nodes, killed ones included.
//
//nolint:gochecknoglobals // there is one set of ports per process
var addresses = struct {
	sync.Mutex
	taken map[string]struct{}
}{taken: make(map[string]struct{})}

// onFreePort calls start with addresses until it does not find one in use, and keeps
// that one until releaseAddress.
func onFreePort(start func(address string) error) (string, error) {
	var err error
	for range startTries {
		address := reserveAddress()
		if err = start(address); err == nil {
			return address, nil
		}
		releaseAddress(address)
		if !errors.Is(err, syscall.EADDRINUSE) {
			return "", err
		}
	}
	return "", fmt.Errorf("%d ports are in use: %w", startTries, err)
}

// reserveAddress returns an address that no other node of this process has.
func reserveAddress() string {
	addresses.Lock()
	defer addresses.Unlock()
	for {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(firstPort+rand.IntN(lastPort-firstPort)))
		if _, taken := addresses.taken[address]; !taken {
			addresses.taken[address] = struct{}{}
			return address
		}
	}
}

func releaseAddress(address string) {
	addresses.Lock()
	defer addresses.Unlock()
	delete(addresses.taken, address)
}
