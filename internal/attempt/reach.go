package attempt

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"
	"weak"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/connectivity"
)

const (
	// redialPause is the least time between two redials of a client that nobody waits for in particular.
	redialPause = time.Second
	// redialTime is how long a connection that had failed may take to come back when it is dialled again.
	redialTime = 250 * time.Millisecond
)

// redial is what is known of a client's redials.
type redial struct {
	last      time.Time
	endpoints []string
	gone      func() bool // whether the client is not in memory any more
}

// redials is the table of all clients, by their connections.
//
//nolint:gochecknoglobals // those who use one client do not know of each other
var redials = struct {
	sync.Mutex
	all map[any]redial
}{all: make(map[any]redial)}

// Redial has a client whose connections have failed dial again, unless that was a moment ago. By itself gRPC
// waits longer after each failure, for up to two minutes: leases would end, and those who wait for a lock would
// go on waiting, long after the servers are back.
func Redial(client *clientv3.Client) { redialAfter(client, redialPause) }

// redialAfter is Redial with the least time since the last, and reports whether it has done so.
//
// ResetConnectBackoff goes through the connections without a lock while gRPC may add one, as of version 1.85.
// They change only with the endpoints: so nothing is done unless those are what they were the last time. Connect,
// which changes nothing here, orders what comes later behind it.
func redialAfter(client *clientv3.Client, pause time.Duration) bool {
	connection := client.ActiveConnection()
	if connection.GetState() != connectivity.TransientFailure {
		return false
	}
	self := weak.Make(connection)
	redials.Lock()
	defer redials.Unlock()
	before := redials.all[self]
	if time.Since(before.last) < pause {
		return false
	}
	maps.DeleteFunc(redials.all, func(_ any, r redial) bool { return r.gone() })
	endpoints := client.Endpoints()
	redials.all[self] = redial{time.Now(), endpoints, func() bool { return self.Value() == nil }}
	if !slices.Equal(before.endpoints, endpoints) {
		return false
	}
	connection.ResetConnectBackoff()
	connection.Connect()
	return true
}

// AwaitFailure waits until the client can make no connection, and reports whether that came
// before the end of ctx. A failure may be one of long ago, after which gRPC only waits: that counts
// if it fails again.
func AwaitFailure(ctx context.Context, client *clientv3.Client) bool {
	connection := client.ActiveConnection()
	for {
		state := connection.GetState()
		switch state {
		case connectivity.TransientFailure:
			if !comesBack(ctx, client) {
				return ctx.Err() == nil
			}
			continue
		case connectivity.Idle:
			connection.Connect()
		default:
		}
		if !connection.WaitForStateChange(ctx, state) {
			return false
		}
	}
}

// comesBack has a client whose connections have failed dial again, and reports whether one comes back. Until
// then the state is that of a failure.
func comesBack(ctx context.Context, client *clientv3.Client) bool {
	for range 2 { // the first time another may have had it dial a moment ago
		dialled := redialAfter(client, redialTime)
		if changes(ctx, client, redialTime) {
			return true
		}
		if dialled {
			break
		}
	}
	return false
}

// changes reports whether a client whose connections have failed gets another state within a time.
func changes(ctx context.Context, client *clientv3.Client, within time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	return client.ActiveConnection().WaitForStateChange(ctx, connectivity.TransientFailure)
}

const (
	// triesInGrace is how many attempts there are in a grace at least: with a member that has
	// vanished the first may be lost, and the second if it goes there, too.
	triesInGrace = 4
	// leastPatience is for graces that are very short.
	leastPatience = 50 * time.Millisecond
)

// Within returns the patience of a call whose caller waits for no longer than the grace, if at
// all.
func Within(grace, patience time.Duration) time.Duration {
	if grace <= 0 {
		return patience
	}
	return min(patience, max(grace/triesInGrace, leastPatience))
}
