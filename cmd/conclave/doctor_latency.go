package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// probes is how often each kind of request is measured.
	probes = 10
	// probeTTL is when the key of an interrupted doctor goes away, in seconds.
	probeTTL = 30
	// slowRead and slowWrite are medians above which hand-overs take noticeably longer than they could.
	slowRead  = 50 * time.Millisecond
	slowWrite = 100 * time.Millisecond
)

// latency is how long requests of a kind have taken.
type latency struct {
	What    string  `json:"what"` // read, write, watch
	Median  float64 `json:"median_ms"`
	Slowest float64 `json:"slowest_ms"`

	median, slowest time.Duration
}

// latencies measures reads, writes, and how long after the sending of a write a watch tells of it.
func (d *diagnosis) latencies(ctx context.Context, client *clientv3.Client, patience time.Duration) {
	key := cmp.Or(d.prefix, "conclave-doctor/") + "~doctor-" + rand.Text()
	var reads []time.Duration
	err := within(ctx, patience, func(ctx context.Context) error {
		for range probes {
			begun := time.Now()
			if _, err := client.Get(ctx, key); err != nil {
				return err
			}
			reads = append(reads, time.Since(begun))
		}
		return nil
	})
	if d.refusal("read", key, err) {
		return
	}
	d.measured("read", slowRead, reads)
	var writes, watches []time.Duration
	err = within(ctx, patience, func(ctx context.Context) (err error) {
		writes, watches, err = probe(ctx, client, key, patience)
		return err
	})
	if d.refusal("write", key, err) {
		return
	}
	d.measured("write", slowWrite, writes)
	d.measured("watch", slowWrite, watches)
}

// refusal tells of requests that have failed.
func (d *diagnosis) refusal(what, key string, err error) bool {
	switch {
	case err == nil:
		return false
	case refused(err):
		d.find(pick(d.prefix == "", note, problem), "user", "name a PREFIX that this user may use, or grant it: etcdctl role grant-permission ROLE readwrite --prefix PREFIX",
			"may not %s %q: %v", what, key, err)
	default:
		d.find(problem, "cluster", "see the members: a quorum of them has to answer", "a %s fails: %v", what, err)
	}
	return true
}

func (d *diagnosis) measured(what string, slow time.Duration, all []time.Duration) {
	slices.Sort(all)
	l := latency{What: what, median: all[len(all)/2], slowest: all[len(all)-1]}
	l.Median, l.Slowest = milliseconds(l.median), milliseconds(l.slowest)
	d.Latency = append(d.Latency, l)
	if l.median > slow {
		d.find(warning, what, "look at the network, and at the disks (etcd_disk_wal_fsync_duration_seconds): a hand-over costs a write and a read; --ttl of at least ten times the slowest",
			"half of the requests take longer than %s", brief(l.median))
	}
}

// probe writes a key that a watch looks at, and removes it, for which it has patience also when ctx has ended.
func probe(ctx context.Context, client *clientv3.Client, key string, patience time.Duration) (writes, watches []time.Duration, err error) {
	grant, err := client.Grant(ctx, probeTTL)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		err = errors.Join(err, within(context.WithoutCancel(ctx), patience, func(ctx context.Context) error {
			_, err := client.Revoke(ctx, grant.ID) // and the key with it
			return err
		}))
	}()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events := client.Watch(ctx, key, clientv3.WithCreatedNotify())
	if err = next(ctx, events); err != nil {
		return nil, nil, err
	}
	for range probes {
		begun := time.Now()
		if _, err = client.Put(ctx, key, "", clientv3.WithLease(grant.ID)); err != nil {
			return nil, nil, err
		}
		writes = append(writes, time.Since(begun))
		if err = next(ctx, events); err != nil {
			return nil, nil, err
		}
		watches = append(watches, time.Since(begun))
	}
	return writes, watches, nil
}

// next waits for what a watch says next.
func next(ctx context.Context, events clientv3.WatchChan) error {
	select {
	case resp, ok := <-events:
		if !ok {
			return errors.Join(errors.New("the watch has ended"), ctx.Err())
		}
		return resp.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}
