package conclavegrpc

import (
	"context"
	"errors"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/resolver"

	"github.com/conclave-go/conclave/watch"
)

const (
	// firstPause and maxPause bound the wait before a cache that has ended, or could not
	// be loaded, is opened again.
	firstPause = 100 * time.Millisecond
	maxPause   = 10 * time.Second
	// looksPerLimit is how often it is looked, within the limit, whether etcd is heard of.
	looksPerLimit = 4
)

// Staleness says since when the addresses of a service have been stale.
type Staleness struct {
	// Service is the name in the target.
	Service string
	// Since is when they were last known to be up to date; zero if they are now.
	Since time.Time
	// Err says why: [ErrEmpty], [ErrUnreachable], or what reading them failed with. It is
	// nil if they are up to date.
	Err error
}

var (
	// ErrEmpty is the reason when the last key of a service is gone.
	ErrEmpty = errors.New("conclavegrpc: the registry has no address")
	// ErrUnreachable is the reason when etcd has not been heard from for too long.
	ErrUnreachable = errors.New("conclavegrpc: etcd has not been heard from")
)

// directory follows the keys of one service for all connections to it.
type directory struct {
	client  *clientv3.Client
	prefix  string
	cfg     config
	cancel  context.CancelFunc
	running sync.WaitGroup // ends after cancel

	mu        sync.Mutex
	resolvers map[*serviceResolver]struct{}
	known     []resolver.Endpoint
	recalled  time.Time // when what is known was true, while it is what another directory knew
	failed    error     // why nothing is known, if that is so
	progress  *watch.Progress
	stale     Staleness
}

// openDirectory begins with what another has known.
func openDirectory(client *clientv3.Client, keys string, c config, m memory) *directory {
	//nolint:forbidigo // a directory lives until the last of its connections is closed
	ctx, cancel := context.WithCancel(context.Background())
	d := &directory{client: client, prefix: keys, cfg: c, cancel: cancel, resolvers: make(map[*serviceResolver]struct{})}
	d.known, d.recalled = m.known, m.since
	d.stale.Service = keys[:len(keys)-1]
	d.running.Go(func() { d.follow(ctx) })
	d.running.Go(func() { d.listen(ctx) })
	return d
}

func (d *directory) close() {
	d.cancel()
	d.running.Wait()
}

// memory is what is known, and how old that is.
func (d *directory) memory() memory {
	d.mu.Lock()
	defer d.mu.Unlock()
	return memory{d.known, d.age(time.Now())}
}

// age is when what is known was true, or else now if it is. mu must be held.
func (d *directory) age(now time.Time) time.Time {
	switch {
	case !d.recalled.IsZero():
		return d.recalled
	case d.stale.Err != nil:
		return d.stale.Since
	default:
		return now
	}
}

// join tells a connection what is known, and from then on what changes.
func (d *directory) join(r *serviceResolver) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.resolvers[r] = struct{}{}
	d.tell(r)
}

// leave reports whether it was the last.
func (d *directory) leave(r *serviceResolver) (last bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.resolvers, r)
	return len(d.resolvers) == 0
}

// tell tells a connection what is known. Before the first address it tells nothing, so
// that calls wait for it for as long as their contexts allow. mu must be held.
func (d *directory) tell(r *serviceResolver) {
	switch {
	case len(d.known) > 0 || d.known != nil && d.cfg.empty == FailCalls:
		// The error is for resolvers that can ask again.
		_ = r.conn.UpdateState(state(d.known))
	case d.failed != nil:
		r.conn.ReportError(d.failed)
	}
}

// follow keeps what is known up to date, with one cache after another.
func (d *directory) follow(ctx context.Context) {
	pause := firstPause
	for {
		loaded, err := d.followOne(ctx)
		if ctx.Err() != nil {
			return
		}
		if loaded {
			pause = firstPause
		}
		d.fail(err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
		pause = min(2*pause, maxPause)
	}
}

// followOne follows for as long as a cache does, and reports whether it was loaded.
func (d *directory) followOne(ctx context.Context) (loaded bool, err error) {
	opts := append([]watch.CacheOption{watch.WithObserver(watch.Observer{Opened: d.opened})}, d.cfg.watch...)
	cache, err := watch.NewCache(ctx, d.client, d.prefix, decode, opts...)
	if err != nil {
		return false, err
	}
	defer func() { _ = cache.Close(ctx) }() // what it had is known
	for snapshot, err := range cache.Snapshots(ctx) {
		if err != nil {
			return true, err
		}
		d.update(snapshot)
	}
	return true, cache.Err()
}

// opened notes how far the cache is.
func (d *directory) opened(p *watch.Progress) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.progress = p
}

// update notes the addresses there are, those whose values do not decode as they were.
func (d *directory) update(s watch.Snapshot[Endpoint]) {
	found := []resolver.Endpoint{}
	seen := make(map[string]bool)
	for _, item := range s.All() {
		if addr := item.Value.Addr; addr != "" && !seen[addr] {
			seen[addr] = true
			found = append(found, item.Value.resolved())
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failed, d.recalled = nil, time.Time{}
	if len(found) == 0 && len(d.known) > 0 && d.cfg.empty == KeepLast {
		d.becomes(ErrEmpty, time.Now())
		return
	}
	d.becomes(nil, time.Time{})
	d.known = found
	for r := range d.resolvers {
		d.tell(r)
	}
}

// fail notes that the keys cannot be read, err being why.
func (d *directory) fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failed = err
	d.becomes(err, d.age(time.Now()))
	if len(d.known) > 0 {
		return
	}
	for r := range d.resolvers {
		d.tell(r)
	}
}

// listen notices that etcd is not heard of, and that it is again, until ctx ends.
func (d *directory) listen(ctx context.Context) {
	ticks := time.NewTicker(d.cfg.staleAfter / looksPerLimit)
	defer ticks.Stop()
	for {
		select {
		case <-ticks.C:
			d.hear()
		case <-ctx.Done():
			return
		}
	}
}

func (d *directory) hear() {
	d.mu.Lock()
	defer d.mu.Unlock()
	var silence time.Duration
	switch {
	case !d.recalled.IsZero():
		silence = time.Since(d.recalled)
	case d.progress != nil:
		silence = d.progress.Silence()
	default:
		return
	}
	switch {
	case silence > d.cfg.staleAfter && d.stale.Err == nil:
		d.becomes(ErrUnreachable, time.Now().Add(-silence))
	case silence <= d.cfg.staleAfter && errors.Is(d.stale.Err, ErrUnreachable):
		d.becomes(nil, time.Time{})
	}
}

// becomes notes since when the addresses are old, or that they are not, and tells if that
// is new. mu must be held.
func (d *directory) becomes(why error, since time.Time) {
	was := d.stale.Err
	d.stale.Err = why
	switch {
	case why == nil && was != nil:
		d.stale.Since = time.Time{}
		d.cfg.log.Info("conclavegrpc: addresses are up to date again", "service", d.stale.Service)
	case why != nil && was == nil:
		d.stale.Since = since
		d.cfg.log.Warn("conclavegrpc: addresses are old", "service", d.stale.Service, "since", since, "cause", why)
	default:
		return
	}
	d.cfg.told(d.stale)
}
