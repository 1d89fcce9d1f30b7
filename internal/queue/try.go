package queue

import (
	"context"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// tryEnqueue puts the entry if it would own. Otherwise it reports an entry that is
// in its way, and the own does not exist.
func (e *entry) tryEnqueue(ctx context.Context) (head Occupant, taken bool, err error) {
	if e.legs[0].lane.permits > 0 {
		return e.tryWeighted(ctx)
	}
	return e.tryPut(ctx, 0)
}

// tryPut puts the entry if every lane is free, as it was at revision seen.
func (e *entry) tryPut(ctx context.Context, seen int64) (head Occupant, taken bool, err error) {
	// Two, because one writer may have become a reader, who is in nobody's way.
	oldest := append(clientv3.WithFirstCreate(), clientv3.WithPrefix(), clientv3.WithLimit(2))
	var free []clientv3.Cmp
	var heads []clientv3.Op
	for i := range e.legs {
		lane := e.legs[i].lane
		free = append(free, lane.free(seen))
		heads = append(heads, clientv3.OpGet(lane.behind, oldest...))
	}
	agreed, others := e.legs[0].lane.agreed()
	free, others = append(free, agreed...), append(others, heads...)
	var then []clientv3.Op
	if e.q.Delay > 0 {
		free = append(free, e.unmarked())
		then = append(then, clientv3.OpPut(e.q.marker(), e.ownMark()))
		others = append(others, clientv3.OpGet(e.q.marker()))
	}
	resp, err := e.put(ctx, free, then, others)
	if err != nil || resp.Succeeded || e.adopted(resp) {
		return Occupant{}, false, err
	}
	answers := resp.Responses[1:]
	if err := dissented(answers[:len(agreed)]); err != nil {
		return Occupant{}, false, err
	}
	for _, answer := range answers[len(agreed):] {
		for _, kv := range answer.GetResponseRange().Kvs {
			if !e.legs[0].lane.passing || kv.Version == 1 {
				return e.inTheWay(kv), true, nil
			}
		}
	}
	return Occupant{}, true, nil
}

// inTheWay returns who is in the way of an attempt: an entry, or a lost owner whose mark
// is there.
func (e *entry) inTheWay(kv *mvccpb.KeyValue) Occupant {
	o := Parse(kv)
	if e.q.Delay > 0 && o.Key == e.q.marker() {
		o.Record = Record{Owner: parseMark(kv).Owner}
		e.countDown(kv)
	}
	return o
}

// tryWeighted reads who is there, since no condition can add up weights, and puts
// the entry unless somebody has come meanwhile.
func (e *entry) tryWeighted(ctx context.Context) (head Occupant, taken bool, err error) {
	for {
		all, rev, err := e.occupants(ctx)
		if err != nil {
			return Occupant{}, false, err
		}
		sum := e.legs[0].lane.weight
		for _, kv := range all {
			sum += weigh(kv)
		}
		if sum > e.legs[0].lane.permits {
			return Parse(all[0]), true, nil
		}
		if head, taken, err := e.tryPut(ctx, rev); !taken || err != nil {
			return head, taken, err
		}
	}
}

// occupants reads the oldest entries of a weighted lane, which is all of them if
// there is room for one more.
func (e *entry) occupants(ctx context.Context) (all []*mvccpb.KeyValue, rev int64, err error) {
	lane := e.legs[0].lane
	err = e.do(ctx, func(ctx context.Context) error {
		resp, err := e.q.Session.Client().Get(ctx, lane.behind,
			append(clientv3.WithFirstCreate(), clientv3.WithPrefix(), clientv3.WithLimit(int64(lane.permits)+1))...)
		if err != nil {
			return err
		}
		all, rev = resp.Kvs, resp.Header.Revision
		return nil
	})
	return all, rev, err
}
