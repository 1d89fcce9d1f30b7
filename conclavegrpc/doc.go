// Package conclavegrpc lets gRPC clients find servers through etcd, and keep finding
// them whatever etcd and the network do.
//
// A server registers its address for as long as it lives:
//
//	session, err := lease.NewSession(ctx, client)
//	registration, err := conclavegrpc.Register(ctx, session, "billing", "host-a", conclavegrpc.Endpoint{Addr: "10.0.0.7:8080"})
//	...
//	err = registration.Drain(ctx, server) // out of the registry, a grace, GracefulStop
//
// A client names the service, and gRPC balances its calls:
//
//	builder, err := conclavegrpc.NewBuilder(client)
//	conn, err := grpc.NewClient("etcd:///billing", grpc.WithResolvers(builder),
//		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"round_robin":{}}]}`), ...)
//
// # Compatibility
//
// Keys and values are those of go.etcd.io/etcd/client/v3/naming, byte for byte: an address
// of service "billing" is a key "billing/…", its value JSON. Servers and clients of either
// kind may be mixed.
//
// # What the official resolver does not do
//
// It ends its watch for good at the first error, such as a compaction while it was cut
// off or an expired token, and from then on silently serves the addresses it had. A
// registration of the official manager disappears when its lease is lost. Here the resolver
// uses a [watch.Cache], which goes on after all of these, and a registration uses
// [lease.Register], which puts the key again.
//
// # When etcd is down
//
// The last known addresses stay in use while etcd cannot be reached, even for a connection that
// has been idle, whose target gRPC resolves again. They also stay when
// the registry is empty, since it is more likely that something has happened to the
// registry than that every server is gone, see [WithEmpty]. [WithStaleness] reports since
// when addresses have been stale, and the log says so at Warn.
//
// # Metadata and weights
//
// [Endpoint].Metadata reaches balancers as an attribute, see [Metadata], also those of
// google.golang.org/grpc/balancer/base, which read addresses instead of endpoints. A member "weight"
// in it is what [Weight] returns. gRPC has no balancer that takes weights from a resolver:
// round_robin ignores them, and weighted_round_robin measures its own. Zones, subsets and
// delays for mass restarts are also left to balancers.
//
// # Cost
//
// A builder has one cache for each service, whatever the number of connections: one
// gRPC stream to etcd, two goroutines, and one more for each connection.
package conclavegrpc
