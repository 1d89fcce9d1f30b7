package lease

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"

	"github.com/conclave-go/conclave/internal/attempt"
	"github.com/conclave-go/conclave/internal/clock"
	"github.com/conclave-go/conclave/internal/look"
)

// Grant asks for one lease and keeps it alive until it is closed or lost. It is not
// self-healing; most callers want [NewSession]. ctx bounds only the grant, which is tried
// until then. If Grant fails but a lease was granted all the same, it has no key attached,
// is not kept alive, and expires by itself.
func Grant(ctx context.Context, client *clientv3.Client, opts ...Option) (*Lease, error) {
	cfg, err := newConfig(client, opts)
	if err != nil {
		return nil, err
	}
	return grant(ctx, client, cfg)
}

func grant(ctx context.Context, client *clientv3.Client, cfg config) (*Lease, error) {
	if ctx.Err() != nil {
		return nil, fmt.Errorf("lease: grant: %w", attempt.Ended(ctx, nil))
	}
	//nolint:forbidigo // not a deadline: clientv3 would try a closed connection for seconds
	if client.Ctx().Err() != nil {
		return nil, fmt.Errorf("lease: grant: %w: %w", ErrClosed, errClientClosed)
	}
	g := granting{client: client, ttl: cfg.ttl, useful: cfg.useful(cfg.ttl)}
	limits := attempt.Limits{
		Patience: min(max(cfg.ttl/callsPerTTL, grantPatience), cfg.ttl/lastShare),
		Caller:   cfg.caller,
		What:     "lease: grant",
	}
	l, err := attempt.Hedge(ctx, limits, g.attempt)
	if err != nil {
		return nil, fmt.Errorf("lease: grant: %w", err)
	}
	return newLease(client, cfg, l), nil
}

// grantPatience is the least time for which a grant is waited for before another is made
// beside it: unlike a renewal it is a write.
const grantPatience = time.Second

// granted is a lease and when its grant was sent, or an earlier one of the same lease.
type granted struct {
	id  clientv3.LeaseID
	ttl time.Duration
	moment
}

// moment is a time by both clocks.
type moment struct {
	start clock.Instant
	wall  time.Time
}

func now() moment { return moment{clock.Now(), time.Now()} }

// granting is a grant that may have to be repeated: with the same ID, so that an attempt
// finds the lease that an earlier one has made although its reply was lost.
type granting struct {
	client *clientv3.Client
	ttl    time.Duration
	useful time.Duration // how old an answer may be

	mu    sync.Mutex
	id    clientv3.LeaseID
	first moment // when a grant with that ID was sent first
}

// useful is how old the answer to a grant or an adoption may be for the lease to have enough
// left.
func (c config) useful(ttl time.Duration) time.Duration { return c.valid(ttl) * 3 / 4 }

var errOld = status.Error(codes.DeadlineExceeded, "a lease was not granted in time to be of use")

// attempt asks for the lease once.
func (g *granting) attempt(ctx context.Context) (granted, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, g.useful, errOld)
	defer cancel()
	l, err := g.ask(ctx)
	if err != nil && errors.Is(context.Cause(ctx), errOld) {
		return granted{}, errOld
	}
	return l, err
}

func (g *granting) ask(ctx context.Context) (granted, error) {
	awaitConnection(ctx, g.client)
	id, sent := g.next()
	// client.Grant would choose the ID, and would hide why there is no connection.
	resp, err := pb.NewLeaseClient(g.client.ActiveConnection()).LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: int64(id), TTL: int64(g.ttl / time.Second)})
	if err == nil {
		return granted{id, time.Duration(resp.TTL) * time.Second, sent}, nil
	}
	if err = rpctypes.Error(err); errors.Is(err, rpctypes.ErrLeaseExist) {
		return g.exists(id)
	}
	return granted{}, err
}

// awaitConnection waits while a connection is being made. gRPC would hold the grant back
// for so long, at the expense of the lease, which counts from when its grant is sent.
func awaitConnection(ctx context.Context, client *clientv3.Client) {
	connection := client.ActiveConnection()
	for {
		state := connection.GetState()
		switch state {
		case connectivity.Idle:
			connection.Connect()
		case connectivity.Connecting:
		default:
			return
		}
		if !connection.WaitForStateChange(ctx, state) {
			return
		}
	}
}

// next returns the ID to ask for, and the present moment.
func (g *granting) next() (clientv3.LeaseID, moment) {
	g.mu.Lock()
	defer g.mu.Unlock()
	sent := now()
	if g.id == clientv3.NoLease {
		g.id, g.first = clientv3.LeaseID(1+rand.Int64N(math.MaxInt64-1)), sent
	}
	return g.id, sent
}

// exists returns the lease that an earlier attempt has made, if it has enough left. Its
// TTL is the one asked for at least.
func (g *granting) exists(id clientv3.LeaseID) (granted, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.id != id {
		return granted{}, errOld
	}
	if clock.Now().Sub(g.first.start) > g.useful {
		g.id = clientv3.NoLease // the next attempt asks for another
		return granted{}, errOld
	}
	return granted{id, g.ttl, g.first}, nil
}

// newLease starts to keep a lease.
func newLease(client *clientv3.Client, cfg config, g granted) *Lease {
	ttl := min(g.ttl, MaxTTL) // an adopted one may have more
	//nolint:forbidigo // a lease's life is bounded by its deadline, not by the context of its grant
	ctx, cancel := context.WithCancelCause(context.Background())
	l := &Lease{client: client, id: g.id, ttl: ttl, cfg: cfg, ctx: ctx, cancel: cancel, look: look.New(ctx), done: make(chan struct{})}
	l.mu.Lock() // the timer may fire before it is assigned
	l.until, l.wall, l.confirmed = g.start.Add(cfg.valid(ttl)), g.wall.Add(cfg.valid(ttl)), g.start
	l.note(change{to: Healthy, first: true})
	l.timer = clock.AfterFunc(l.until, l.expire)
	l.mu.Unlock()
	l.tell()
	go l.keep() // ends when the lease has ended and been revoked, at most one TTL later
	return l
}
