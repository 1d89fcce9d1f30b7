package election

import (
	"context"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/attempt"
	"github.com/conclave-go/conclave/internal/queue"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

// Leader is the process that leads, as [Current] and [Observe] found it. The zero Leader
// stands for nobody.
type Leader struct {
	// Value is what the leader was elected with, or has proclaimed since.
	Value string
	// Key is its key in etcd.
	Key string
	// Owner is what it calls itself, see [WithOwner].
	Owner string
	// Token is the number of its term.
	Token lock.Token
	// CreateRevision is the revision at which it began to stand for election, ModRevision
	// that of its last proclamation, or the same if there was none, and Version one more
	// than the number of its proclamations.
	CreateRevision, ModRevision, Version int64
	// Lease is the lease its key is attached to. When that ends, so does the term.
	Lease clientv3.LeaseID
}

// Exists reports whether there is a leader.
func (l Leader) Exists() bool { return l.Token != 0 }

// Candidate is one candidacy in an election, as [Candidates] found it.
type Candidate struct {
	// Value is what it stands with, or what it has proclaimed as leader.
	Value string
	// Key is its key in etcd.
	Key string
	// Owner is what it calls itself, see [WithOwner].
	Owner string
	// Token is the number of the term that it has, or will have once elected.
	Token lock.Token
	// CreateRevision is the revision at which it began to stand for election, ModRevision
	// that of its last proclamation, or the same if there was none, and Version one more
	// than the number of its proclamations.
	CreateRevision, ModRevision, Version int64
	// Since is when it began to stand for election, by its own clock; zero for entries that
	// were not made by this package.
	Since time.Time
	// Lease is the lease its key is attached to. When that ends, so does the candidacy.
	Lease clientv3.LeaseID
	// Position is the number of candidates ahead of it: 0 leads.
	Position int
}

// Leads reports whether the candidate led when it was read.
func (c Candidate) Leads() bool { return c.Position == 0 }

// Age returns how long the candidate has stood for election at the given time, by its
// own clock; 0 if it does not say.
func (c Candidate) Age(now time.Time) time.Duration {
	if c.Since.IsZero() {
		return 0
	}
	return now.Sub(c.Since)
}

// Current returns the current leader, in one linearizable read; the zero [Leader] if there
// is none. By the time it returns, things may have changed. A read without an answer is
// repeated until ctx ends.
//
// The leader is whoever is first in etcd. One that has only just been elected may not know
// it yet, and one that has died is shown until its lease expires.
func Current(ctx context.Context, client *clientv3.Client, name string, opts ...ReadOption) (Leader, error) {
	p, err := readConfig(ctx, client, name, opts)
	if err != nil {
		return Leader{}, err
	}
	l, seen, err := awaitLeader(ctx, client, p.place)
	if err != nil {
		return Leader{}, fmt.Errorf("election: reading the leader of %q: %w", name, err)
	}
	p.note(seen)
	return l, nil
}

// Candidates returns all candidates, in one linearizable read: the leader first, then those
// who wait, in the order in which they will be elected. By the time it returns, things may
// have changed. A read without an answer is repeated until ctx ends.
func Candidates(ctx context.Context, client *clientv3.Client, name string, opts ...ReadOption) ([]Candidate, error) {
	p, err := readConfig(ctx, client, name, opts)
	if err != nil {
		return nil, err
	}
	occupants, seen, err := awaitOccupants(ctx, client, p.place)
	if err != nil {
		return nil, fmt.Errorf("election: reading the candidates of %q: %w", name, err)
	}
	p.note(seen)
	all := make([]Candidate, len(occupants))
	for i, o := range occupants {
		r := p.record(o)
		all[i] = Candidate{
			Value: r.Value, Key: o.Key, Owner: r.Owner, Token: newToken(o.CreateRevision),
			CreateRevision: o.CreateRevision, ModRevision: o.ModRevision, Version: o.Version,
			Since: r.Since, Lease: o.Lease, Position: i,
		}
	}
	return all, nil
}

// patience is how long a read waits for its answer before another goes out beside it.
const patience = time.Second

// awaitLeader reads the leader, trying until ctx ends.
func awaitLeader(ctx context.Context, client *clientv3.Client, p place) (Leader, lease.Header, error) {
	resp, err := attempt.Hedge(ctx, attempt.Limits{Patience: patience, Caller: &attempt.Caller{Client: client}}, func(ctx context.Context) (*clientv3.GetResponse, error) {
		return client.Get(ctx, p.prefix, append(clientv3.WithFirstCreate(), clientv3.WithPrefix())...)
	})
	if err != nil {
		return Leader{}, lease.Header{}, err
	}
	if len(resp.Kvs) == 0 {
		return Leader{}, lease.HeaderOf(resp.Header), nil
	}
	return leaderOf(resp.Kvs[0], p), lease.HeaderOf(resp.Header), nil
}

// awaitOccupants reads all candidates, trying until ctx ends.
func awaitOccupants(ctx context.Context, client *clientv3.Client, p place) ([]queue.Occupant, lease.Header, error) {
	return queue.Read(ctx, client, p.prefix)
}

func leaderOf(kv *mvccpb.KeyValue, p place) Leader {
	o := queue.Parse(kv)
	r := p.record(o)
	return Leader{
		Value: r.Value, Key: o.Key, Owner: r.Owner, Token: newToken(o.CreateRevision),
		CreateRevision: o.CreateRevision, ModRevision: o.ModRevision, Version: o.Version, Lease: o.Lease,
	}
}
