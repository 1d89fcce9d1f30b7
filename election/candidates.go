package election

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/queue"
	"github.com/conclave-go/conclave/lock"
)

// Leader is who leads, as [Current] and [Observe] found it. The zero Leader is nobody.
type Leader struct {
	// Value is what the leader was elected with, or has proclaimed since.
	Value string
	// Key is its key in etcd.
	Key string
	// Owner is what it calls itself, see [WithOwner].
	Owner string
	// Token is the number of its term.
	Token lock.Token
}

// Exists reports whether there is a leader.
func (l Leader) Exists() bool { return l.Token != 0 }

// Candidate is one candidacy in an election, as [Candidates] found it.
type Candidate struct {
	// Value is what it stands for, or what it has proclaimed as leader.
	Value string
	// Key is its key in etcd.
	Key string
	// Owner is what it calls itself, see [WithOwner].
	Owner string
	// Token is the number of the term that it has, or will have once elected.
	Token lock.Token
	// Since is when it began to stand for election, by its own clock; zero for
	// entries that something else than this package has made.
	Since time.Time
	// Lease is the lease its key is attached to. When that ends, so does the candidacy.
	Lease clientv3.LeaseID
	// Position is the number of candidates before it: 0 leads.
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

// Current returns the present leader, in one linearizable read; the zero [Leader] if
// there is none. By the time it returns, things may have changed.
//
// A leader is who is first in etcd. Whoever was elected this instant may not know it
// yet, and one that has died is shown until its lease expires.
func Current(ctx context.Context, client *clientv3.Client, name string) (Leader, error) {
	if err := checkTarget(client, name); err != nil {
		return Leader{}, err
	}
	l, _, err := readLeader(ctx, client, prefix(name))
	if err != nil {
		return Leader{}, fmt.Errorf("election: reading the leader of %q: %w", name, err)
	}
	return l, nil
}

// Candidates returns all candidates, in one linearizable read: the leader first, then
// those who wait, in the order in which they will be elected. By the time it returns,
// things may have changed.
func Candidates(ctx context.Context, client *clientv3.Client, name string) ([]Candidate, error) {
	if err := checkTarget(client, name); err != nil {
		return nil, err
	}
	occupants, err := queue.Read(ctx, client, prefix(name))
	if err != nil {
		return nil, fmt.Errorf("election: reading the candidates of %q: %w", name, err)
	}
	all := make([]Candidate, len(occupants))
	for i, o := range occupants {
		all[i] = Candidate{
			Value: o.Record.Value, Key: o.Key, Owner: o.Record.Owner, Token: newToken(o.CreateRevision),
			Since: o.Record.Since, Lease: o.Lease, Position: i,
		}
	}
	return all, nil
}

func checkTarget(client *clientv3.Client, name string) error {
	if client == nil {
		return errors.New("election: client is nil: must be a connected *clientv3.Client")
	}
	return checkName(name)
}

// readLeader returns the leader and the revision at which it was.
func readLeader(ctx context.Context, client *clientv3.Client, prefix string) (Leader, int64, error) {
	resp, err := client.Get(ctx, prefix, append(clientv3.WithFirstCreate(), clientv3.WithPrefix())...)
	if err != nil {
		return Leader{}, 0, err
	}
	if len(resp.Kvs) == 0 {
		return Leader{}, resp.Header.Revision, nil
	}
	return leaderOf(resp.Kvs[0]), resp.Header.Revision, nil
}

func leaderOf(kv *mvccpb.KeyValue) Leader {
	o := queue.Parse(kv)
	return Leader{Value: o.Record.Value, Key: o.Key, Owner: o.Record.Owner, Token: newToken(o.CreateRevision)}
}
