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

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/attempt"
)

const (
	// firstPage is how many keys the first page of a read asks for, when nothing
	// is known of the size of values: they may be of a megabyte each.
	firstPage = 8
	// pageGrowth is how many times as many the next one may have.
	pageGrowth = 8
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

// read returns the present state, as it was at one revision, in the order of keys, and
// the header of the answer, with that revision. It is not below that of anything seen
// before the call. Each page is asked for again, of another member, beside a request that has not
// been answered for as long as patience.
func (s span) read(
	ctx context.Context, streams *streams, patience time.Duration, opts ...clientv3.OpOption,
) (kvs []*mvccpb.KeyValue, header *pb.ResponseHeader, err error) {
	limit := int64(firstPage)
	for from := s.key; ; {
		resp, err := s.page(ctx, streams, patience, from, append(opts, clientv3.WithLimit(limit), clientv3.WithRev(header.GetRevision())))
		switch {
		case ctx.Err() != nil:
			return nil, nil, attempt.Ended(ctx, err)
		case attempt.TooLarge(err) && limit > 1:
			limit = max(limit/pageGrowth, 1)
			continue
		case attempt.TooLarge(err):
			return nil, nil, newTooLarge(s.first(ctx, streams, patience, from, append(opts, clientv3.WithRev(header.GetRevision()))), err)
		case errors.Is(err, rpctypes.ErrCompacted):
			return nil, nil, errOvertaken
		case err != nil:
			return nil, nil, err
		case header != nil && resp.Header.ClusterId != header.ClusterId:
			return nil, nil, &ClusterError{Expected: header.ClusterId, Actual: resp.Header.ClusterId}
		}
		if header == nil {
			header = resp.Header
			kvs = slices.Grow(kvs, int(resp.Count))
		}
		kvs = append(kvs, resp.Kvs...)
		if !resp.More {
			return kvs, header, nil
		}
		from = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
		limit = nextPage(limit, resp.Kvs)
	}
}

// page reads from a key on.
func (s span) page(
	ctx context.Context, streams *streams, patience time.Duration, from string, opts []clientv3.OpOption,
) (*clientv3.GetResponse, error) {
	return streams.read(ctx, patience, from, s.options(opts...)...)
}

// first returns the first key that a read of a page would return, empty if it cannot be
// read.
func (s span) first(ctx context.Context, streams *streams, patience time.Duration, from string, opts []clientv3.OpOption) string {
	resp, err := s.page(ctx, streams, patience, from, append(opts, clientv3.WithLimit(1), clientv3.WithKeysOnly()))
	if err != nil || len(resp.Kvs) == 0 {
		return ""
	}
	return string(resp.Kvs[0].Key)
}

// nameLarge returns the error for a change after a revision that is larger than the
// client accepts, with the key if that still has such a value.
func (s span) nameLarge(ctx context.Context, streams *streams, patience time.Duration, after int64, err error) error {
	_, _, found := s.read(ctx, streams, patience, clientv3.WithMinModRev(after+1))
	if large, ok := errors.AsType[*TooLargeError](found); ok {
		return large
	}
	return newTooLarge("", err)
}

// nextPage returns how many keys to ask for after a page.
func nextPage(limit int64, page []*mvccpb.KeyValue) int64 {
	size := 1
	for _, kv := range page {
		size += len(kv.Key) + len(kv.Value)
	}
	fitting := int64(pageBytes * len(page) / size)
	return max(min(pageGrowth*limit, fitting, maxPage), 1)
}

// difference returns the events that lead from what is known to the state at
// revision, in the order of revisions.
func difference(known iter.Seq2[string, int64], state []*mvccpb.KeyValue, revision int64) []*clientv3.Event {
	old := maps.Collect(known)
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
	slices.SortFunc(events, func(a, b *clientv3.Event) int {
		return cmp.Or(cmp.Compare(a.Kv.ModRevision, b.Kv.ModRevision), bytes.Compare(a.Kv.Key, b.Kv.Key))
	})
	return events
}

// whole returns the events of a state, in the order of keys.
func whole(state []*mvccpb.KeyValue) []*clientv3.Event {
	events := make([]*clientv3.Event, len(state))
	for i, kv := range state {
		events[i] = &clientv3.Event{Type: clientv3.EventTypePut, Kv: kv}
	}
	return events
}
