package queue

import (
	"context"
	"errors"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// tryEnqueue puts the entry if it would own. Otherwise it reports an entry that is
// in its way, and the own does not exist.
func (e *entry) tryEnqueue(ctx context.Context) (head Occupant, taken bool, err error) {
	if e.legs[0].lane.permits > 0 {
		return e.tryWeighted(ctx)
	}
	return e.tryPut(ctx)
}

// tryPut puts the entry if every lane is free.
func (e *entry) tryPut(ctx context.Context) (head Occupant, taken bool, err error) {
	for {
		resp, reads, err := e.sendTry(ctx)
		if err != nil {
			return Occupant{}, false, err
		}
		if resp.Succeeded || e.adopted(resp) {
			e.claimed = true // its mark, if it leaves one, was put with it
			return Occupant{}, false, nil
		}
		for _, kv := range all(resp.Responses[1 : 1+reads]) {
			if !e.legs[0].lane.kind.over(at(kv, 0), kv) {
				return Parse(kv), true, nil
			}
		}
		if e.q.Delay == nil {
			return Occupant{}, true, nil
		}
		if head, taken, err = e.lostOwner(ctx, resp.Responses[1+reads:]); taken || err != nil {
			return head, taken, err
		}
	}
}

// sendTry sends the transaction of tryPut when its turn has come. If it does not succeed, its answers are the
// entry, the given number of reads of those in its way, and those of marks if the queue's
// grants leave any.
func (e *entry) sendTry(ctx context.Context) (resp *clientv3.TxnResponse, reads int, err error) {
	// Two, because one writer may have become a reader, who is in nobody's way.
	oldest := append(clientv3.WithFirstCreate(), clientv3.WithPrefix(), clientv3.WithLimit(2))
	free, then := e.q.Delay.free(), e.puts(1)
	var heads []clientv3.Op
	for i := range e.legs {
		lane := e.legs[i].lane
		if free = append(free, lane.free()); !lane.hasOwn() {
			free = append(free, e.absent())
		}
		heads = append(heads, clientv3.OpGet(lane.behind, oldest...))
	}
	reads = len(heads)
	if e.q.Delay.marks() {
		then, heads = append(then, e.putMark()), append(heads, e.q.Delay.reads()...)
	}
	if err := e.enter(ctx); err != nil {
		return nil, 0, err
	}
	defer e.crowd.joining.leave()
	resp, err = e.put(ctx, e.putting(free, then, heads))
	return resp, reads, err
}

// lostOwner returns the owner whose mark is in the way of an attempt. It makes a request
// if the answers to the attempt do not have the marks: those of many names do not fit.
func (e *entry) lostOwner(ctx context.Context, answers []*pb.ResponseOp) (head Occupant, taken bool, err error) {
	if e.minds() {
		resp, err := e.commit(ctx, nil, e.q.Delay.reads(), nil)
		if err != nil {
			return Occupant{}, false, err
		}
		answers = resp.Responses
	}
	found := e.q.Delay.inTheWay(all(answers))
	if found == nil {
		return Occupant{}, false, nil
	}
	head = Parse(found)
	head.Record = Record{Owner: parseMark(found).Owner}
	return head, true, nil
}

// errOvertaken says that others took the permits which an attempt had found.
var errOvertaken = errors.New("others took the permits")

// tryWeighted reads who is there, since no condition can add up weights, and puts the
// entry if it would fit. Others may have done so meanwhile: then it fails with
// errOvertaken, and shall be tried again. Each time that happens others have come to own,
// so what many attempts cost together grows with their number only.
func (e *entry) tryWeighted(ctx context.Context) (head Occupant, taken bool, err error) {
	all, err := e.occupants(ctx)
	if err != nil {
		return Occupant{}, false, err
	}
	sum := e.legs[0].lane.weight()
	for _, kv := range all {
		sum += weigh(kv)
	}
	if sum > e.legs[0].lane.permits {
		return Parse(all[0]), true, nil
	}
	if err := e.join(ctx); err != nil {
		return Occupant{}, false, err
	}
	if g := e.waitsAt(); g != nil && g.before.created == unknownRevision {
		if err := e.check(ctx, g.before.seen); err != nil {
			return Occupant{}, false, err
		}
	}
	if !e.waits() {
		return Occupant{}, false, nil
	}
	e.becomeRemoving()
	if _, err := e.delete(ctx); err != nil {
		return Occupant{}, false, err
	}
	e.created = 0
	return Occupant{}, false, errOvertaken
}

// occupants reads the oldest entries of a weighted lane when its turn has come, which is all
// of them if there is room for one more.
func (e *entry) occupants(ctx context.Context) ([]*mvccpb.KeyValue, error) {
	if err := e.enter(ctx); err != nil {
		return nil, err
	}
	defer e.crowd.joining.leave()
	lane := e.legs[0].lane
	resp, err := request(ctx, e, func(ctx context.Context) (*clientv3.GetResponse, error) {
		return e.q.Session.Client().Get(ctx, lane.behind,
			append(clientv3.WithFirstCreate(), clientv3.WithPrefix(), clientv3.WithLimit(int64(lane.permits)+1))...)
	})
	if err != nil {
		return nil, err
	}
	return resp.Kvs, nil
}
