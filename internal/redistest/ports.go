package redistest

import (
	"fmt"

	"github.com/conclave-go/conclave/internal/ports"
)

// startTries is how many ports are tried: another program may take one first.
const startTries = 20

// onFreePort calls start with addresses until it does not find one in use, and keeps
// that one until releaseAddress, also while its node is killed.
func onFreePort(start func(address string) error) (string, error) {
	var err error
	for range startTries {
		kept, keepErr := ports.Redis.Keep(1)
		if keepErr != nil {
			return "", keepErr
		}
		address := ports.Address(kept[0])
		if err = start(address); err == nil {
			return address, nil
		}
		releaseAddress(address)
		if !ports.Taken(err) {
			return "", err
		}
	}
	return "", fmt.Errorf("%d ports are in use: %w", startTries, err)
}

func releaseAddress(address string) { ports.Release(ports.Of(address)) }
