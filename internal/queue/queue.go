package queue

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/attempt"
	"github.com/conclave-go/conclave/lease"
)

// Queue is the entries of one name and kind, as one session sees them.
type Queue struct {
	Session *lease.Session
	// Kind names the primitive in events and logs.
	Kind string
	// Name is the user's name of it.
	Name string
	// Lanes are the lines to stand in: an acquisition enters all of them in one
	// revision and owns when it may in each. All but one-lane queues are exclusive.
	Lanes []Lane
	// Owner is put into entries for people to read.
	Owner string
	// Value is put into entries for programs to read.
	Value string
	// Raw makes entries consist of Value alone, as those of other libraries do. Nothing
	// then tells them from what somebody else puts under the same key, lease and value.
	Raw bool
	// Nests is set if other queues may be within this one, or this one within others: in the
	// layout of other libraries the queue of "a" has the entries of "a/b".
	Nests bool
	// Errors are the errors of grants.
	Errors Errors
	// Delay makes the next grant wait after one that was lost; nil is not at all.
	Delay *Delay
	// Lost, if not nil, is called when a grant ends without having been released.
	// It must not block.
	Lost func(g *Grant)
	// Quiet keeps Acquire, TryAcquire, Reacquire and their grants from the observer.
	Quiet bool
	// Waits, if not nil, is told instead of the observer when an Acquire of a quiet queue
	// starts to wait.
	Waits func(e lease.Event)
}

// Record is the value of an entry.
type Record struct {
	// Nonce tells an acquisition's own entry from anybody else's.
	Nonce string `json:"nonce"`
	// Owner describes the process.
	Owner string `json:"owner,omitempty"`
	// Since is when the acquisition began, by its client's clock.
	Since time.Time `json:"since"`
	// Value is what the acquisition has to tell: what a candidate stands for.
	Value string `json:"value,omitempty"`
}

// content returns what an entry that says r is put with.
func (q *Queue) content(r Record) string {
	if q.Raw {
		return r.Value
	}
	return r.encode()
}

// encode returns the record as it is stored.
func (r Record) encode() string {
	v, err := json.Marshal(r)
	if err != nil {
		panic("queue: a record cannot be encoded: " + err.Error()) // strings and a time can
	}
	return string(v)
}

// Occupant is an entry as read from the queue.
type Occupant struct {
	Key            string
	CreateRevision int64
	ModRevision    int64
	Version        int64
	Lease          clientv3.LeaseID
	// Content is the value as it is stored, and Record what ours says in it.
	Content string
	Record  Record
}

// record returns what a new entry says.
func (q *Queue) record() Record {
	var b [8]byte
	rand.Read(b[:]) // never fails, by its documentation
	return Record{Nonce: hex.EncodeToString(b[:]), Owner: q.Owner, Since: time.Now(), Value: q.Value}
}

// Parse reads an entry. One that is not ours (of clientv3/concurrency, or made by
// hand) has an empty record.
func Parse(kv *mvccpb.KeyValue) Occupant {
	o := Occupant{
		Key: string(kv.Key), CreateRevision: kv.CreateRevision, ModRevision: kv.ModRevision, Version: kv.Version,
		Lease: clientv3.LeaseID(kv.Lease), Content: string(kv.Value),
	}
	if err := json.Unmarshal(kv.Value, &o.Record); err != nil {
		o.Record = Record{}
	}
	return o
}

// Read returns the entries of the queue with the given prefix, oldest first, and the
// header of the answer. A read that has no answer is repeated until ctx ends.
func Read(ctx context.Context, client *clientv3.Client, prefix string) ([]Occupant, lease.Header, error) {
	resp, err := attempt.Hedge(ctx, attempt.Limits{Patience: patience, Caller: &attempt.Caller{Client: client}}, func(ctx context.Context) (*clientv3.GetResponse, error) {
		return client.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend))
	})
	if err != nil {
		return nil, lease.Header{}, err
	}
	all := make([]Occupant, len(resp.Kvs))
	for i, kv := range resp.Kvs {
		all[i] = Parse(kv)
	}
	return all, lease.HeaderOf(resp.Header), nil
}

// TTL returns how long a lease lasts unless it is renewed, 0 if it has ended. A request
// that has no answer is repeated until ctx ends.
func TTL(ctx context.Context, client *clientv3.Client, id clientv3.LeaseID) (time.Duration, error) {
	resp, err := attempt.Hedge(ctx, attempt.Limits{Patience: patience, Caller: &attempt.Caller{Client: client}}, func(ctx context.Context) (*clientv3.LeaseTimeToLiveResponse, error) {
		return client.TimeToLive(ctx, id)
	})
	if err != nil {
		return 0, err
	}
	return max(time.Duration(resp.TTL)*time.Second, 0), nil
}

// patience is how long those who have no lease wait for an answer before they ask again
// beside.
const patience = time.Second

// rpcTimeout bounds one request: a fraction of the TTL, so that a member that has
// vanished costs less than a lease, within limits that suit any network.
func rpcTimeout(l *lease.Lease) time.Duration {
	return min(max(l.TTL()/rpcsPerTTL, minRPC), maxRPC)
}

const (
	rpcsPerTTL = 6
	minRPC     = 250 * time.Millisecond
	maxRPC     = 5 * time.Second
)
