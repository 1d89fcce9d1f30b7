package queue

import (
	"context"
	"runtime"
	"sync"
	"weak"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/attempt"
)

const (
	// maxJoining is how many entries of one client are put, or removed by those who gave
	// up, at a time, and maxOpening how many watches are being opened. A crowd's other
	// requests wait in this process: else they would keep the holder's renewals waiting in
	// the connection and at the server, until its lease is lost. With 64 the server is busy
	// all the time; with 1,000 a renewal takes as long as a short TTL.
	maxJoining = 64
	maxOpening = 64
)

// gates let through the requests of a client's crowd, some at a time and in the order in
// which they came. Renewals, looks, releases and wake-ups do not pass them.
type gates struct {
	joining, opening gate
}

// gate is passed by as many at a time as it has room for.
type gate chan struct{}

// pass waits for its turn, or the end of ctx. leave makes room for the next.
func (g gate) pass(ctx context.Context) (leave func(), err error) {
	select {
	case g <- struct{}{}: // those who block here are served in order
		return func() { <-g }, nil
	case <-ctx.Done():
		return nil, attempt.Ended(ctx, nil)
	}
}

// gatesByClient has the gates of each client that is in use.
var gatesByClient sync.Map // weak.Pointer[clientv3.Client] to *gates

// gatesOf returns the gates of a client.
func gatesOf(client *clientv3.Client) *gates {
	key := weak.Make(client)
	if found, ok := gatesByClient.Load(key); ok {
		return found.(*gates) //nolint:forcetypeassert // nothing else is put there
	}
	found, loaded := gatesByClient.LoadOrStore(key, &gates{make(gate, maxJoining), make(gate, maxOpening)})
	if !loaded {
		runtime.AddCleanup(client, func(key weak.Pointer[clientv3.Client]) { gatesByClient.Delete(key) }, key)
	}
	return found.(*gates) //nolint:forcetypeassert // as above
}
