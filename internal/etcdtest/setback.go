package etcdtest

import (
	"context"
	"sync/atomic"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Setbacks are how a call ends that meets the one member that cannot help, by what has become
// of that member. The next call would meet another.
func Setbacks() map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"no leader":    func(context.Context) error { return rpctypes.ErrGRPCNoLeader },
		"restarts":     func(context.Context) error { return status.Error(codes.Unavailable, "error reading from server: EOF") },
		"has vanished": Vanished,
	}
}

// Vanished is how a call ends at a member that does not answer: with its context.
func Vanished(ctx context.Context) error {
	<-ctx.Done()
	return status.FromContextError(ctx.Err()).Err()
}

// HookFirst lets fn stand in for the first call of a method, until remove is called. called
// reports whether there was one.
func (r *Recorder) HookFirst(method string, fn func(ctx context.Context) error) (remove func(), called func() bool) {
	var first atomic.Bool
	remove = r.Hook(method, func(ctx context.Context, _ any, invoke func() error) error {
		if first.Swap(true) {
			return invoke()
		}
		return fn(ctx)
	})
	return remove, first.Load
}
