package attempt

import (
	"context"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/connectivity"
)

// redialTime is how long a connection that had failed may take to come back when it is dialled again.
const redialTime = 250 * time.Millisecond

// AwaitFailure waits until the client can make no connection, and reports whether that came
// before the end of ctx. A failure may be one of long ago, after which gRPC only waits: that counts
// if it fails again.
func AwaitFailure(ctx context.Context, client *clientv3.Client) bool {
	connection := client.ActiveConnection()
	for {
		state := connection.GetState()
		switch state {
		case connectivity.TransientFailure:
			if !redial(ctx, client) {
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

// redial has a client whose connections have failed dial again, and reports whether one comes back. Until
// then the state is that of a failure.
func redial(ctx context.Context, client *clientv3.Client) bool {
	connection := client.ActiveConnection()
	ctx, cancel := context.WithTimeout(ctx, redialTime)
	defer cancel()
	connection.ResetConnectBackoff()
	return connection.WaitForStateChange(ctx, connectivity.TransientFailure)
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
