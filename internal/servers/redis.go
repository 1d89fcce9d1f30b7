package servers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"time"

	"github.com/conclave-go/conclave/internal/netfault"
	"github.com/conclave-go/conclave/internal/redistest"
	"github.com/conclave-go/conclave/internal/tempdir"
)

// lagPoll is how often is looked whether a replica has a key.
const lagPoll = 3 * time.Millisecond

// Redis is some nodes that know nothing of each other, or, with a replica, two of which
// one copies the other. Use StartRedis.
type Redis struct {
	dir      *tempdir.Dir
	clusters []*redistest.Cluster // one node each: their clocks are moved one by one
	// Shim says why the clocks cannot be moved by a library; nil if they can.
	Shim error
	// stream is what the replica copies through; nil without one.
	stream *netfault.Proxy
}

// HasRedis reports whether there is a redis-server to run.
func HasRedis() bool {
	_, err := exec.LookPath("redis-server")
	return err == nil
}

// StartRedis starts n nodes: processes of redis-server, or embedded ones where there is
// none.
func StartRedis(ctx context.Context, n int) (*Redis, error) {
	dir, err := tempdir.Make("redis")
	if err != nil {
		return nil, err
	}
	r := &Redis{dir: dir}
	var opts []redistest.Option
	if HasRedis() {
		var library string
		if library, r.Shim = redistest.CompileClock(ctx, dir.Path()); r.Shim == nil {
			opts = append(opts, redistest.WithClockLibrary(library))
		}
	}
	for range n {
		start := redistest.StartEmbedded
		if HasRedis() {
			start = func(n int, opts ...redistest.Option) (*redistest.Cluster, error) {
				return redistest.Start(ctx, n, opts...)
			}
		}
		c, err := start(1, opts...)
		if err != nil {
			return nil, errors.Join(err, r.Close())
		}
		r.clusters = append(r.clusters, c)
	}
	return r, nil
}

// Close ends all nodes.
func (r *Redis) Close() error {
	var errs []error
	for _, c := range r.clusters {
		errs = append(errs, c.Close())
	}
	if r.stream != nil {
		errs = append(errs, r.stream.Close())
	}
	return errors.Join(append(errs, r.dir.Remove())...)
}

// Node returns node i.
func (r *Redis) Node(i int) *redistest.Node { return r.clusters[i].Node(0) }

// Size returns how many there are.
func (r *Redis) Size() int { return len(r.clusters) }

// Addrs returns the addresses of the nodes.
func (r *Redis) Addrs() []string {
	var all []string
	for i := range r.clusters {
		all = append(all, r.Node(i).Addr())
	}
	return all
}

// Jump lets the clocks of the first n nodes be wrong by d; where there is no library
// for that, their keys named so expire so much earlier or later.
func (r *Redis) Jump(ctx context.Context, n int, d time.Duration, keys ...string) error {
	var errs []error
	for i := range n {
		err := r.Node(i).SkewClock(d)
		if errors.Is(err, redistest.ErrNoSkew) {
			err = r.expire(ctx, i, d, keys)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// expire does to keys what a clock would.
func (r *Redis) expire(ctx context.Context, i int, d time.Duration, keys []string) error {
	for _, key := range keys {
		left, err := r.Node(i).Admin().PTTL(ctx, key).Result()
		if err != nil {
			return err
		}
		if left <= 0 {
			continue
		}
		if err := r.Node(i).Admin().PExpire(ctx, key, left-d).Err(); err != nil {
			return err
		}
	}
	return nil
}

// Replicate makes node j a replica of node i, through a proxy that can be cut, and
// returns when it has copied all there is.
func (r *Redis) Replicate(ctx context.Context, i, j int) error {
	if r.stream != nil {
		_ = r.stream.Close() // always nil
	}
	stream, err := netfault.Start(r.Node(i).Addr())
	if err != nil {
		return err
	}
	r.stream = stream
	host, port, err := net.SplitHostPort(stream.Addr())
	if err != nil {
		return err
	}
	if err := r.Node(j).Admin().ReplicaOf(ctx, host, port).Err(); err != nil {
		return fmt.Errorf("replicating: %w", err)
	}
	for {
		role, err := r.Node(j).Admin().Do(ctx, "ROLE").Slice()
		if err == nil && len(role) > 3 && role[3] == "connected" {
			return nil
		}
		select {
		case <-time.After(leaderPoll):
		case <-ctx.Done():
			return fmt.Errorf("replicating: %w", context.Cause(ctx))
		}
	}
}

// Lag holds back what the replica j has yet to copy, from a moment at which it does not
// have the key.
func (r *Redis) Lag(ctx context.Context, j int, key string) error {
	for {
		r.stream.Blackhole()
		n, err := r.Node(j).Admin().Exists(ctx, key).Result()
		if err == nil && n == 0 {
			return nil
		}
		r.stream.Heal()
		select {
		case <-time.After(lagPoll):
		case <-ctx.Done():
			return fmt.Errorf("a replica without %s: %w", key, context.Cause(ctx))
		}
	}
}

// FailOver kills node i and lets its replica j serve, with what it has copied.
func (r *Redis) FailOver(ctx context.Context, i, j int) error {
	return errors.Join(r.Node(i).Crash(), r.Node(j).Admin().ReplicaOf(ctx, "NO", "ONE").Err())
}
