package concurrency

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// leftover is a key of the session's lease that the session would use itself: an earlier user
// of the lease has left it.
type leftover struct {
	key     string
	created int64
}

// left returns what is left under a prefix, oldest first. Only a lease that was adopted can have had an earlier user.
func (s *Session) left(ctx context.Context, prefix string) (all []leftover, err error) {
	if s.opts.leaseID == clientv3.NoLease {
		return nil, nil
	}
	own := fmt.Sprintf("%s%x", prefix, int64(s.Lease()))
	resp, err := beside(ctx, request{s.client, "concurrency: looking for what the lease has"}, func(ctx context.Context) (*clientv3.GetResponse, error) {
		// With the leases, which keys alone have not.
		return s.client.Get(ctx, own, clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend))
	})
	if err != nil {
		return nil, err
	}
	for _, kv := range resp.Kvs {
		if clientv3.LeaseID(kv.Lease) == s.Lease() && isSlot(strings.TrimPrefix(string(kv.Key), own)) {
			all = append(all, leftover{string(kv.Key), kv.CreateRevision})
		}
	}
	return all, nil
}

// isSlot reports whether a key that ends so after the lease is one that a session uses: the
// first has nothing there, and the others a number.
func isSlot(suffix string) bool {
	if suffix == "" {
		return true
	}
	number, ok := strings.CutPrefix(suffix, "-")
	n, err := strconv.Atoi(number)
	return ok && err == nil && n > 0
}

// takeUp resumes the first of what is left that can be, and reports whether there was one.
// What is gone meanwhile, or is about to be removed by this process, is passed over: the
// caller queues anew.
func takeUp[T any](ctx context.Context, s *Session, all []leftover, resume func(context.Context, string, int64) (T, error)) (got T, ok bool, err error) {
	for _, l := range all {
		got, err = resume(ctx, l.key, l.created)
		if err == nil {
			return got, true, nil
		}
		if ctx.Err() != nil || s.lease.Err() != nil {
			return got, false, err
		}
	}
	return got, false, nil
}

// heir returns what is left for a goroutine of a strict session to take up: to each its own,
// if it fits. It was there before anybody of the session queued, so none of it is the
// session's; that ends with the claim.
func (c *claim) heir(ctx context.Context, user *Election, fits func(context.Context, leftover) (bool, error)) (*leftover, error) {
	release, err := c.take(ctx, nil)
	if err != nil {
		return nil, err
	}
	defer release()
	if !c.searched {
		if c.left, err = c.session.left(ctx, c.key.prefix); err != nil {
			return nil, err
		}
		c.searched = true
	}
	c.left = c.withBack(c.left)
	i := slices.IndexFunc(c.left, func(l leftover) bool { return !c.session.resumedByOther(l.key, user) })
	if i < 0 {
		return nil, nil //nolint:nilnil // there is none, which is no error here
	}
	l := c.left[i]
	if fit, err := fits(ctx, l); !fit {
		return nil, err
	}
	c.left = slices.Delete(c.left, i, i+1)
	return &l, nil
}

// withBack returns left with what was given back, oldest first.
func (c *claim) withBack(left []leftover) []leftover {
	c.session.mu.Lock()
	defer c.session.mu.Unlock()
	left = append(left, c.back...)
	c.back = nil
	slices.SortFunc(left, func(a, b leftover) int { return cmp.Compare(a.created, b.created) })
	return left
}

// giveBack gives back what heir has returned, for another to take up. If it is gone, or about
// to be, that one will find out.
func (c *claim) giveBack(l leftover) {
	c.session.mu.Lock()
	defer c.session.mu.Unlock()
	c.back = append(c.back, l)
}

// anyPlace is where what is left may be in the queue.
func anyPlace(context.Context, leftover) (bool, error) { return true, nil }

// ways are how a mutex or a leadership is acquired.
type ways[T interface{ Context() context.Context }] struct {
	resume func(ctx context.Context, key string, rev int64) (T, error)
	fits   func(ctx context.Context, l leftover) (bool, error) // what may be resumed
	anew   func(ctx context.Context) (T, error)
}

// strictly acquires for a goroutine of a strict session: by taking up what is left, if there
// is something, and else anew. What it returns uses the claim until its context ends.
func strictly[T interface{ Context() context.Context }](ctx context.Context, s *Session, key claimKey, user *Election, w ways[T]) (T, error) {
	if s.opts.leaseID == clientv3.NoLease {
		return w.anew(ctx)
	}
	c, leave := s.claim(key)
	got, err := inherit(ctx, c, user, w)
	if err != nil {
		leave()
		return got, err
	}
	context.AfterFunc(got.Context(), leave)
	return got, nil
}

func inherit[T interface{ Context() context.Context }](ctx context.Context, c *claim, user *Election, w ways[T]) (T, error) {
	for {
		l, err := c.heir(ctx, user, w.fits)
		if err != nil {
			var none T
			return none, err
		}
		if l == nil {
			return w.anew(ctx)
		}
		got, ok, err := takeUp(ctx, c.session, []leftover{*l}, w.resume)
		if err != nil {
			c.giveBack(*l)
		}
		if ok || err != nil {
			return got, err
		}
	}
}
