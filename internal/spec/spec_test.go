package spec_test

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/conclave-go/conclave/internal/bubble"
	"github.com/conclave-go/conclave/internal/clock"
	"github.com/conclave-go/conclave/internal/spec"
	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lease"
)

const (
	leaseID = 0xab
	dir     = "m/~mutex/"
	mine    = dir + "ab"
	theirs  = dir + "cd"
	ttl     = 10 * time.Second
)

// actor is a process whose messages a test makes up.
type actor struct {
	*spec.Process

	calls int64
}

// call sends a request, and returns what answers it.
func (a *actor) call(req proto.Message) (answer func(resp proto.Message, err error)) {
	a.calls++
	id := a.calls
	a.Message(spec.Message{Call: id, Request: req})
	return func(resp proto.Message, err error) { a.Message(spec.Message{Call: id, Response: resp, Err: err}) }
}

var errBroken = status.Error(codes.Unavailable, "broken")

func header(rev int64) *pb.ResponseHeader { return &pb.ResponseHeader{Revision: rev, RaftTerm: 2} }

func record(nonce string) string { return fmt.Sprintf(`{"nonce":%q}`, nonce) }

// is is the condition that an entry is of a revision, 0 being that it is not there.
func is(key string, created int64) *pb.Compare {
	return &pb.Compare{Target: pb.Compare_CREATE, Key: []byte(key), TargetUnion: &pb.Compare_CreateRevision{CreateRevision: created}}
}

// there is the condition that any is.
func there(key string) *pb.Compare {
	c := is(key, 0)
	c.Result = pb.Compare_GREATER
	return c
}

func rangeOf(req *pb.RangeRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: req}}
}

func found(kvs ...*mvccpb.KeyValue) *pb.ResponseOp {
	return &pb.ResponseOp{Response: &pb.ResponseOp_ResponseRange{ResponseRange: &pb.RangeResponse{Kvs: kvs, Count: int64(len(kvs))}}}
}

func entryOf(key string, created int64) *mvccpb.KeyValue {
	return &mvccpb.KeyValue{Key: []byte(key), CreateRevision: created, ModRevision: created, Version: 1}
}

// put sends an entry.
func (a *actor) put(value string) func(proto.Message, error) {
	return a.call(&pb.TxnRequest{
		Compare: []*pb.Compare{is(mine, 0)},
		Success: []*pb.RequestOp{
			{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte(mine), Value: []byte(value), Lease: leaseID}}},
			rangeOf(newest(dir, 2)),
		},
		Failure: []*pb.RequestOp{rangeOf(&pb.RangeRequest{Key: []byte(mine)})},
	})
}

func newest(prefix string, limit int64) *pb.RangeRequest {
	return &pb.RangeRequest{
		Key: []byte(prefix), RangeEnd: []byte(clientv3.GetPrefixRangeEnd(prefix)), Limit: limit,
		SortTarget: pb.RangeRequest_CREATE, SortOrder: pb.RangeRequest_DESCEND,
	}
}

// applied is the answer to put that it was, behind others.
func applied(rev int64, older ...*mvccpb.KeyValue) *pb.TxnResponse {
	put := &pb.ResponseOp{Response: &pb.ResponseOp_ResponsePut{ResponsePut: &pb.PutResponse{}}}
	return &pb.TxnResponse{Header: header(rev), Succeeded: true, Responses: []*pb.ResponseOp{put, found(append([]*mvccpb.KeyValue{entryOf(mine, rev)}, older...)...)}}
}

// exists is the answer to put that something else is there.
func exists(rev int64, kv *mvccpb.KeyValue) *pb.TxnResponse {
	return &pb.TxnResponse{Header: header(rev), Responses: []*pb.ResponseOp{found(kv)}}
}

// check sends the wake-up check of an entry of revision 5.
func (a *actor) check() func(proto.Message, error) {
	older := newest(dir, 1)
	older.MaxCreateRevision, older.Serializable = 4, true
	return a.call(&pb.TxnRequest{Success: []*pb.RequestOp{rangeOf(&pb.RangeRequest{Key: []byte(mine), Serializable: true}), rangeOf(older)}})
}

func checked(rev int64, own, older *mvccpb.KeyValue) *pb.TxnResponse {
	resp := &pb.TxnResponse{Header: header(rev), Succeeded: true, Responses: []*pb.ResponseOp{found(), found()}}
	if own != nil {
		resp.Responses[0] = found(own)
	}
	if older != nil {
		resp.Responses[1] = found(older)
	}
	return resp
}

// putAlone is a transaction within another that puts an entry.
func putAlone(key string, lease int64) *pb.RequestOp {
	put := &pb.PutRequest{Key: []byte(key), Value: []byte(record("a")), Lease: lease}
	return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: &pb.TxnRequest{
		Compare: []*pb.Compare{is(key, 0)},
		Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: put}}},
	}}}
}

// remove sends a deletion on a condition.
func (a *actor) remove(cond *pb.Compare) func(proto.Message, error) {
	return a.call(&pb.TxnRequest{Compare: []*pb.Compare{cond}, Success: []*pb.RequestOp{
		{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte(mine)}}},
	}})
}

func removed(rev int64) *pb.TxnResponse {
	return &pb.TxnResponse{Header: header(rev), Succeeded: true, Responses: []*pb.ResponseOp{
		{Response: &pb.ResponseOp_ResponseDeleteRange{ResponseDeleteRange: &pb.DeleteRangeResponse{Deleted: 1}}},
	}}
}

func (a *actor) granted(rev int64) { a.Observer().Granted(lease.Event{Key: mine, Revision: rev}) }

func (a *actor) ended() { a.Observer().Released(lease.Event{Key: mine, Revision: 5}) }

// history returns a history that is known.
func history(changes ...spec.Change) spec.History {
	h := spec.History{Known: true, Changes: changes}
	if n := len(changes); n > 0 {
		h.Revision = changes[n-1].Revision
	}
	return h
}

func created(key, value string, rev int64) spec.Change {
	return spec.Change{Key: key, Revision: rev, Created: rev, Version: 1, Value: value}
}

func TestTheSpecificationAllowsTheLifeOfAnEntry(t *testing.T) {
	t.Parallel()
	run := spec.NewRun()
	a := &actor{Process: run.Process()}
	a.put(record("a"))(applied(5, entryOf(theirs, 4)), nil)
	a.check()(checked(6, entryOf(mine, 5), nil), nil)
	a.granted(5)
	a.ended()
	a.remove(is(mine, 5))(nil, errBroken)
	a.remove(is(mine, 5))(&pb.TxnResponse{Header: header(8)}, nil)
	a.put(record("b"))(applied(9), nil)
	a.granted(9)
	require.Empty(t, run.Check(history(created(theirs, "", 4), created(mine, record("a"), 5), spec.Change{Key: theirs, Revision: 6},
		spec.Change{Key: mine, Revision: 7}, created(mine, record("b"), 9))))
}

func TestTheSpecificationNamesTheStepThatItDoesNotAllow(t *testing.T) {
	t.Parallel()
	behind := func(a *actor) { a.put(record("a"))(applied(5, entryOf(theirs, 4)), nil) }
	first := func(a *actor) {
		a.put(record("a"))(applied(5), nil)
		a.granted(5)
	}
	for name, tt := range map[string]struct {
		play func(a *actor)
		step int
		says string
	}{
		"used again while a deletion has no answer": {func(a *actor) {
			first(a)
			a.ended()
			a.remove(is(mine, 5))(nil, errBroken)
			a.put(record("b"))
		}, 6, "is used again while its entry of revision 5 is removing"},
		"used again while a put has no answer": {func(a *actor) {
			a.put(record("a"))(nil, errBroken)
			a.put(record("b"))
		}, 2, "is used again while its entry of revision 0 is pending"},
		"used again although one of two puts may arrive": {func(a *actor) {
			a.put(record("a"))
			a.put(record("a"))(applied(5), nil)
			a.remove(is(mine, 5))(removed(6), nil)
			a.put(record("b"))
		}, 5, "is unsettled"},
		"found missing at a revision older than itself": {func(a *actor) {
			behind(a)
			a.check()(checked(4, nil, entryOf(theirs, 4)), nil)
			a.Observer().Waited(lease.Event{Key: mine, Revision: 5, Reason: lease.ReasonDeleted})
		}, 4, "given up as deleted, which no answer has shown"},
		"taken for one's own although another put it": {func(a *actor) {
			kv := entryOf(mine, 3)
			kv.Value = []byte(record("x"))
			a.put(record("a"))(exists(4, kv), nil)
			a.granted(3)
		}, 2, "granted"},
		"granted without a check": {func(a *actor) {
			behind(a)
			a.granted(5)
		}, 2, "no answer shows that nobody is in its way"},
		"granted after a check older than the entry": {func(a *actor) {
			behind(a)
			a.check()(checked(4, nil, nil), nil)
			a.granted(5)
		}, 4, "no answer shows"},
		"granted twice": {func(a *actor) {
			first(a)
			a.granted(5)
		}, 3, "another hold has it"},
		"granted although it is gone": {func(a *actor) {
			first(a)
			a.ended()
			a.check()(checked(6, nil, nil), nil)
			a.granted(5)
		}, 6, "while it is gone"},
		"deleted by its key": {func(a *actor) {
			first(a)
			a.ended()
			a.remove(there(mine))
		}, 4, "on no condition on which entry is there"},
		"deleted while it is held": {func(a *actor) {
			first(a)
			a.remove(is(mine, 5))
		}, 3, "while a hold of it goes on"},
		"guarded by its key": {func(a *actor) {
			first(a)
			a.call(&pb.TxnRequest{Compare: []*pb.Compare{there(mine)}, Success: []*pb.RequestOp{rangeOf(&pb.RangeRequest{Key: []byte("x")})}})
		}, 3, "does not say which entry it means"},
		"put together with one of another lease": {func(a *actor) {
			a.call(&pb.TxnRequest{Success: []*pb.RequestOp{putAlone("m/~mutex/ab", 0xab), putAlone("n/~mutex/cd", 0xcd)}})
		}, 0, "puts entries of two leases"},
		"put on no condition": {func(a *actor) {
			a.call(&pb.TxnRequest{Success: []*pb.RequestOp{
				{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte(mine), Lease: leaseID}}},
			}})
		}, 0, "on no condition"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run := spec.NewRun()
			a := &actor{Process: run.Process()}
			tt.play(a)
			found := run.Check(spec.History{})
			require.NotEmpty(t, found)
			require.Equal(t, tt.step, found[0].Step, found[0])
			require.ErrorContains(t, found[0], tt.says)
			require.ErrorContains(t, found[0], "process 0")

			var trace bytes.Buffer
			tt.play(&actor{Process: spec.Trace(&trace)})
			trace.WriteString(`{"at":1,"mess`) // killed while it wrote
			replayed := spec.NewRun()
			require.NoError(t, replayed.Replay("process 0", &trace))
			again := replayed.Check(spec.History{})
			require.Len(t, again, len(found))
			require.Equal(t, found[0].Step, again[0].Step)
			require.Equal(t, found[0].What, again[0].What)
		})
	}
}

func TestAnAnswerThatTheHistoryContradictsIsNamed(t *testing.T) {
	t.Parallel()
	run := spec.NewRun()
	a := &actor{Process: run.Process()}
	a.put(record("a"))(applied(5), nil)
	a.granted(5)
	found := run.Check(history(created(theirs, "", 4), created(mine, record("a"), 5)))
	require.Len(t, found, 1)
	require.ErrorContains(t, found[0], `"m/~mutex/cd" of revision 4 was in its way`)
}

func TestTheOnlyOneBeforeAnEntryMayBeSeenToGo(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		event int64
		fine  bool
	}{"after it was seen": {7, true}, "before it was seen": {5, false}} {
		run := spec.NewRun()
		a := &actor{Process: run.Process()}
		a.put(record("a"))(applied(5, entryOf(theirs, 4)), nil)
		a.Message(spec.Message{Call: 99, Stream: true, Response: &pb.WatchResponse{Header: header(tt.event), Events: []*mvccpb.Event{
			{Type: mvccpb.Event_DELETE, Kv: &mvccpb.KeyValue{Key: []byte(theirs), ModRevision: tt.event}},
		}}})
		a.granted(5)
		require.Equal(t, tt.fine, len(run.Check(spec.History{})) == 0, name)
	}
}

func TestAllBeforeAnEntryMayBeSeenToGo(t *testing.T) {
	t.Parallel()
	const nearer = "m/~mutex/ef"
	for name, tt := range map[string]struct {
		gone []string
		more bool // than were read
		fine bool
	}{
		"both":                    {gone: []string{theirs, nearer}, fine: true},
		"both, the nearest first": {gone: []string{nearer, theirs}, fine: true},
		"the nearest":             {gone: []string{nearer}},
		"the oldest":              {gone: []string{theirs}},
		"both of three":           {gone: []string{theirs, nearer}, more: true},
	} {
		run := spec.NewRun()
		a := &actor{Process: run.Process()}
		resp := applied(5, entryOf(nearer, 4), entryOf(theirs, 3))
		resp.Responses[1].GetResponseRange().More = tt.more
		if tt.more {
			resp.Responses[1].GetResponseRange().Count++
		}
		a.put(record("a"))(resp, nil)
		for i, key := range tt.gone {
			rev := int64(7 + i)
			a.Message(spec.Message{Call: 99, Stream: true, Response: &pb.WatchResponse{Header: header(rev), Events: []*mvccpb.Event{
				{Type: mvccpb.Event_DELETE, Kv: &mvccpb.KeyValue{Key: []byte(key), ModRevision: rev}},
			}}})
		}
		a.granted(5)
		require.Equal(t, tt.fine, len(run.Check(spec.History{})) == 0, name)
	}
}

// The news that an entry is gone may be there when it is granted, and not be read yet; but not if
// it came before what shows that the entry owns.
func TestAnEntryMayBeGoneWhenItIsGranted(t *testing.T) {
	t.Parallel()
	deleted := func(key string, rev int64) *mvccpb.Event {
		return &mvccpb.Event{Type: mvccpb.Event_DELETE, Kv: &mvccpb.KeyValue{Key: []byte(key), ModRevision: rev}}
	}
	for name, tt := range map[string]struct {
		events []*mvccpb.Event
		grants int
		fine   bool
	}{
		"after the one before it":         {[]*mvccpb.Event{deleted(theirs, 7), deleted(mine, 8)}, 1, true},
		"and not once more":               {[]*mvccpb.Event{deleted(theirs, 7), deleted(mine, 8)}, 2, false},
		"before the one before it":        {[]*mvccpb.Event{deleted(mine, 7), deleted(theirs, 8)}, 1, false},
		"together with the one before it": {[]*mvccpb.Event{deleted(theirs, 7), deleted(mine, 7)}, 1, false},
	} {
		run := spec.NewRun()
		a := &actor{Process: run.Process()}
		a.put(record("a"))(nil, errBroken) // which may put it once more
		a.put(record("a"))(applied(5, entryOf(theirs, 4)), nil)
		a.Message(spec.Message{Call: 99, Stream: true, Response: &pb.WatchResponse{Header: header(8), Events: tt.events}})
		for range tt.grants {
			a.granted(5)
			a.ended()
		}
		require.Equal(t, tt.fine, len(run.Check(spec.History{})) == 0, name)
	}
}

// The queue of another layout has those within it that are called after it.
func TestNoTransactionPutsTwoEntriesIntoOneQueue(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		keys []string
		fine bool
	}{
		{[]string{"m/~mutex/ab", "n/~mutex/ab"}, true},
		{[]string{"m/~mutex/ab", "m/n/~mutex/ab"}, true},
		{[]string{"m/~mutex/ab", "m/~mutex/ab-1"}, false},
		{[]string{"m/~rw/r/ab", "m/~rw/w/ab-1"}, false},
		{[]string{"m/ab", "n/ab"}, true},
		{[]string{"m/ab", "m/n/ab"}, false},
		{[]string{"m/n/ab", "m/ab"}, false},
		{[]string{"m/n/~mutex/ab", "m/ab"}, false},
	} {
		run := spec.NewRun()
		a := &actor{Process: run.Process()}
		txn := new(pb.TxnRequest)
		for i, key := range tt.keys {
			put := &pb.PutRequest{Key: []byte(key), Value: []byte(record(strconv.Itoa(i))), Lease: leaseID}
			txn.Compare = append(txn.Compare, is(key, 0))
			txn.Success = append(txn.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: put}})
		}
		a.call(txn)
		wrong := run.Check(spec.History{})
		require.Equal(t, tt.fine, len(wrong) == 0, "%q: %v", tt.keys, wrong)
	}
}

// aLease asks for a lease, and returns the session's face of it.
// Who waits behind several learns from the nearest alone nothing; of its own process, that
// it has owned.
func TestTheNearestOfSeveralMayBeSeenToGoIfItHasOwned(t *testing.T) {
	t.Parallel()
	const neighbour = mine + "-1"
	for name, tt := range map[string]struct {
		owned, read, fine bool
	}{
		"of a neighbour that has owned":                   {owned: true, read: true, fine: true},
		"of one that has not":                             {read: true},
		"of one that has, and the own was not looked for": {owned: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run := spec.NewRun()
			a := &actor{Process: run.Process()}
			put := &pb.PutRequest{Key: []byte(neighbour), Value: []byte(record("n")), Lease: leaseID}
			var older []*mvccpb.KeyValue
			if !tt.owned {
				older = append(older, entryOf(theirs, 3))
			}
			a.call(&pb.TxnRequest{Compare: []*pb.Compare{is(neighbour, 0)}, Success: []*pb.RequestOp{
				{Request: &pb.RequestOp_RequestPut{RequestPut: put}}, rangeOf(newest(dir, 2)),
			}})(applied(4, older...), nil)
			behind := applied(5, entryOf(neighbour, 4))
			queue := behind.Responses[1].GetResponseRange()
			queue.More, queue.Count = true, 3
			a.put(record("a"))(behind, nil)
			a.Message(spec.Message{Call: 99, Stream: true, Response: &pb.WatchResponse{Header: header(6), Events: []*mvccpb.Event{
				{Type: mvccpb.Event_DELETE, Kv: &mvccpb.KeyValue{Key: []byte(neighbour), ModRevision: 6}},
			}}})
			if tt.read {
				point := a.call(&pb.TxnRequest{Success: []*pb.RequestOp{rangeOf(&pb.RangeRequest{Key: []byte(mine), Serializable: true})}})
				point(&pb.TxnResponse{Header: header(6), Succeeded: true, Responses: []*pb.ResponseOp{found(entryOf(mine, 5))}}, nil)
			}
			a.granted(5)
			wrong := run.Check(spec.History{})
			require.Equal(t, tt.fine, len(wrong) == 0, "%v", wrong)
		})
	}
}

func (a *actor) aLease() {
	a.call(&pb.LeaseGrantRequest{ID: leaseID, TTL: int64(ttl / time.Second)})(&pb.LeaseGrantResponse{Header: header(1), ID: leaseID, TTL: int64(ttl / time.Second)}, nil)
}

func (a *actor) renew() (answer func(term uint64)) {
	a.Message(spec.Message{Call: 99, Stream: true, Request: &pb.LeaseKeepAliveRequest{ID: leaseID}})
	return func(term uint64) {
		a.Message(spec.Message{Call: 99, Stream: true, Response: &pb.LeaseKeepAliveResponse{
			Header: &pb.ResponseHeader{RaftTerm: term}, ID: leaseID, TTL: int64(ttl / time.Second),
		}})
	}
}

func (a *actor) look() func(proto.Message, error) {
	return a.call(&pb.TxnRequest{Success: []*pb.RequestOp{rangeOf(&pb.RangeRequest{Key: []byte("x")})}})
}

func TestADeadlineHasToBeJustified(t *testing.T) {
	t.Parallel()
	t.Cleanup(clock.Virtual())
	const late = 4 * time.Second
	for name, tt := range map[string]struct {
		play  func(a *actor)
		until time.Duration // the latest that is justified
	}{
		"granted":                   {func(*actor) {}, 0},
		"renewed, not confirmed":    {func(a *actor) { a.renew()(2) }, 0},
		"renewed and confirmed":     {func(a *actor) { a.renew()(2); a.look()(&pb.TxnResponse{Header: header(2)}, nil) }, late},
		"confirmed by a later term": {func(a *actor) { a.renew()(1); a.look()(&pb.TxnResponse{Header: header(2)}, nil) }, 0},
		"confirmed from aside": {func(a *actor) {
			acked, looked := a.renew(), a.look()
			acked(2)
			looked(&pb.TxnResponse{Header: header(2)}, nil)
		}, 0},
		"confirmed by a failure": {func(a *actor) { a.renew()(2); a.look()(nil, errors.New("no")) }, 0},
		"counted from its sending": {func(a *actor) {
			acked := a.renew()
			vtime.Sleep(time.Second)
			acked(2)
			a.look()(&pb.TxnResponse{Header: header(2)}, nil)
		}, late},
	} {
		for _, more := range []time.Duration{0, 10 * time.Millisecond} {
			bubble.Test(t, func(t *testing.T) {
				run := spec.NewRun()
				a := &actor{Process: run.Process()}
				began := time.Now()
				a.aLease()
				vtime.Sleep(late)
				tt.play(a)
				a.Claimed(leaseID, func() time.Duration { return time.Until(began.Add(tt.until + ttl - ttl/100 + more)) })
				require.Equal(t, more > 0, len(run.Check(spec.History{})) > 0, "%s: %v later", name, more)
			})
		}
	}
}

func TestNothingIsGrantedAfterTheDeadline(t *testing.T) {
	t.Parallel()
	t.Cleanup(clock.Virtual())
	for _, after := range []time.Duration{ttl - ttl/100 - time.Millisecond, ttl - ttl/100} {
		bubble.Test(t, func(t *testing.T) {
			run := spec.NewRun()
			a := &actor{Process: run.Process()}
			a.aLease()
			a.put(record("a"))(applied(5), nil)
			vtime.Sleep(after)
			a.granted(5)
			found := run.Check(spec.History{})
			require.Equal(t, after == ttl-ttl/100, len(found) == 1, found)
		})
	}
}
