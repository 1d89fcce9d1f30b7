package queue_test

import (
	"sync"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/queue"
)

// The race detector watches.
func TestAReadOfWhoIsBehindIsMadeByTwoAttemptsAtOnce(t *testing.T) {
	t.Parallel()
	read := queue.ReadLater("p/", 1)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() { read(clientv3.WithKeysOnly()) })
	}
	wg.Wait()
}
