package attempt

import (
	"context"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/metadata"
)

// leader is what asks a member to refuse a request at once while it knows no leader,
// made once: gRPC does not change what it is given.
//
//nolint:gochecknoglobals // never written again
var leader = metadata.Pairs(rpctypes.MetadataRequireLeaderKey, rpctypes.MetadataHasLeader)

// RequireLeader returns a context for requests that a member which is cut off from its
// peers refuses at once, so that another is asked, instead of keeping them until they
// are given up. All attempts of this package are made with it.
func RequireLeader(ctx context.Context) context.Context {
	md, others := metadata.FromOutgoingContext(ctx)
	switch {
	case !others:
		return metadata.NewOutgoingContext(ctx, leader)
	case len(md.Get(rpctypes.MetadataRequireLeaderKey)) > 0:
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, rpctypes.MetadataRequireLeaderKey, rpctypes.MetadataHasLeader)
}
