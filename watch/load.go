package watch

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"iter"
	"maps"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"

	"github.com/conclave-go/conclave/internal/attempt"
)

const (
	// firstPage is how many keys the first page of a read asks for, when nothing
	// is known of the size of values.
	firstPage = 1000
	// maxPage and pageBytes bound later pages. etcd counts the keys that are left
	// for every page, so few large pages are better than many small ones.
	maxPage   = 10_000
	pageBytes = 4 << 20
)

// errOvertaken says that the revision a read was pinned to was compacted before the
// last page was read.
var errOvertaken = errors.New("compaction has overtaken the read")

// span is a key, or a range of keys.
type span struct {
	key string // the first
	end string // the first that does not belong to it; empty if there is only one
}

func keyRange(key string, cfg config) span {
	switch {
	case cfg.keyspace:
		return span{key: "\x00", end: "\x00"}
	case cfg.prefix:
		return span{key: key, end: clientv3.GetPrefixRangeEnd(key)}
	default:
		return span{key: key}
	}
}

// options returns opts with the end of the range.
func (s span) options(opts ...clientv3.OpOption) []clientv3.OpOption {
	if s.end != "" {
		opts = append(opts, clientv3.WithRange(s.end))
	}
	return opts
}

// read returns the present state, as it was at one revision, in the order of keys.
// The revision is not below that of anything seen before the call. Each page is
// tried until it is read, each try for as long as timeout.
func (s span) read(ctx context.Context, client *clientv3.Client, timeout time.Duration) (kvs []*mvccpb.KeyValue, revision int64, err error) {
	limit := int64(firstPage)
	for from := s.key; ; {
		var resp *clientv3.GetResponse
		err := attempt.Do(ctx, timeout, func(ctx context.Context) (err error) {
			resp, err = client.Get(ctx, from, s.options(clientv3.WithLimit(limit), clientv3.WithRev(revision))...)
			if attempt.Code(err) == codes.ResourceExhausted { // larger than the client takes
				limit = max(limit/2, 1)
			}
			return err
		})
		switch {
		case ctx.Err() != nil:
			return nil, 0, attempt.Ended(ctx, err)
		case errors.Is(err, rpctypes.ErrCompacted):
			return nil, 0, errOvertaken
		case err != nil:
			return nil, 0, err
		}
		if revision == 0 {
			revision = resp.Header.Revision
			kvs = slices.Grow(kvs, int(resp.Count))
		}
		kvs = append(kvs, resp.Kvs...)
		if !resp.More {
			return kvs, revision, nil
		}
		from = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
		limit = nextPage(limit, resp.Kvs)
	}
}

// nextPage returns how many keys to ask for after a page.
func nextPage(limit int64, page []*mvccpb.KeyValue) int64 {
	size := 1
	for _, kv := range page {
		size += len(kv.Key) + len(kv.Value)
	}
	fitting := int64(pageBytes * len(page) / size)
	return max(min(2*limit, fitting, maxPage), 1)
}

// difference returns the events that lead from what is known to the state at
// revision: in the order of the state if nothing is known, else of revisions.
func difference(known iter.Seq2[string, int64], state []*mvccpb.KeyValue, revision int64) []*clientv3.Event {
	old := maps.Collect(known)
	fresh := len(old) == 0
	events := make([]*clientv3.Event, 0, max(len(state)-len(old), 0))
	for _, kv := range state {
		if modified, ok := old[string(kv.Key)]; !ok || modified != kv.ModRevision {
			events = append(events, &clientv3.Event{Type: clientv3.EventTypePut, Kv: kv})
		}
		delete(old, string(kv.Key))
	}
	for key := range old {
		kv := &mvccpb.KeyValue{Key: []byte(key), ModRevision: revision}
		events = append(events, &clientv3.Event{Type: clientv3.EventTypeDelete, Kv: kv})
	}
	if !fresh {
		slices.SortFunc(events, func(a, b *clientv3.Event) int {
			return cmp.Or(cmp.Compare(a.Kv.ModRevision, b.Kv.ModRevision), bytes.Compare(a.Kv.Key, b.Kv.Key))
		})
	}
	return events
}
