package spec

import (
	"fmt"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/conclave-go/conclave/internal/attempt"
)

// txnSent checks what a transaction would do.
func (c *checker) txnSent(s cursor, req *pb.TxnRequest) {
	all := operations(req, nil)
	c.putsSent(s, all)
	for _, o := range all {
		if del := o.op.GetRequestDeleteRange(); del != nil && len(del.RangeEnd) == 0 && c.known[string(del.Key)] {
			c.deleteSent(s, o, del)
		}
		for _, cond := range o.conds {
			if len(cond.RangeEnd) == 0 && c.known[string(cond.Key)] && !harmless(cond) {
				c.violated(s, fmt.Sprintf("a condition on %q does not say which entry it means: %v", cond.Key, cond), c.pastOf(s, cond.Key))
			}
		}
	}
}

// putsSent checks the operations of a transaction that put entries.
func (c *checker) putsSent(s cursor, all []operation) {
	groups := make(map[string][]*entry) // by what they say: the keys of one acquisition say the same
	var put []*entry
	for _, o := range all {
		kv := o.op.GetRequestPut()
		switch {
		case kv == nil || !isEntry(string(kv.Key), kv.Lease):
		case fresh(all):
			e := c.putSent(s, kv)
			c.together(s, put, e)
			put = append(put, e)
			groups[e.value] = append(groups[e.value], e)
		default:
			c.putAgainSent(s, o, kv)
		}
	}
	for _, group := range groups {
		for _, e := range group {
			e.group = group
		}
	}
}

// together checks that entries may be put by one transaction.
func (c *checker) together(s cursor, put []*entry, e *entry) {
	if slices.ContainsFunc(put, e.sharesQueue) {
		c.violated(s, fmt.Sprintf("a transaction puts two entries into the queue of %q", e.key), e.past())
	}
	if len(put) > 0 && leaseOf(put[0].key) != leaseOf(e.key) {
		c.violated(s, fmt.Sprintf("a transaction puts entries of two leases, as %q and %q", put[0].key, e.key), e.past())
	}
}

// putAgainSent checks an operation that puts again what is there.
func (c *checker) putAgainSent(s cursor, o operation, put *pb.PutRequest) {
	c.known[string(put.Key)] = true
	if !slices.ContainsFunc(o.on(put.Key), identifies) {
		c.violated(s, fmt.Sprintf("a put of %q on no condition on which entry is there", put.Key), c.pastOf(s, put.Key))
	}
}

// putSent follows an operation that puts an entry which is not there, and returns it.
func (c *checker) putSent(s cursor, put *pb.PutRequest) *entry {
	key := string(put.Key)
	c.known[key] = true
	e := c.entries[place{s.process, key}]
	switch {
	case e == nil:
	case e.state == gone && (e.value != string(put.Value) || e.created != 0): // one with no nonce may be put again as it was
		e = nil
	case e.value == string(put.Value) && (!e.raw() || e.created == 0):
	default:
		c.violated(s, fmt.Sprintf("%q is used again while its entry of revision %d is %v", key, e.created, e.state), e.past())
		e = nil
	}
	if e == nil {
		e = &entry{process: s.process, key: key, value: string(put.Value), lane: laneOf(key)}
		c.entries[place{s.process, key}] = e
	}
	e.putAgain(s)
	return e
}

// deleteSent follows an operation that deletes an entry.
func (c *checker) deleteSent(s cursor, o operation, del *pb.DeleteRangeRequest) {
	named := false
	for _, cond := range o.on(del.Key) {
		named = named || identifies(cond)
	}
	if !named {
		c.violated(s, fmt.Sprintf("a deletion of %q on no condition on which entry is there", del.Key), c.pastOf(s, del.Key))
	}
	e := c.meant(s, o, del.Key)
	if e == nil {
		return
	}
	if e.held {
		c.violated(s, fmt.Sprintf("%q is deleted while a hold of it goes on", del.Key), e.past())
	}
	e.deleteSent(s)
}

// meant returns the process's own entry that the conditions on a key are about.
func (c *checker) meant(s cursor, o operation, key []byte) *entry {
	e := c.entries[place{s.process, string(key)}]
	if e == nil {
		return nil
	}
	for _, cond := range o.on(key) {
		if cond.Target == pb.Compare_CREATE && cond.GetCreateRevision() == e.created && e.created != 0 ||
			cond.Target == pb.Compare_VALUE && string(cond.GetValue()) == e.value && e.created == 0 {
			return e
		}
	}
	return nil
}

// txnAnswered follows the answer to a transaction.
func (c *checker) txnAnswered(s cursor, req *pb.TxnRequest, resp *pb.TxnResponse, err error) {
	rev := resp.GetHeader().GetRevision()
	all := operations(req, resp)
	for _, o := range all {
		if put := o.op.GetRequestPut(); put != nil {
			c.putAnswered(s, o, put, all, rev, err)
		}
	}
	for _, o := range all {
		if del := o.op.GetRequestDeleteRange(); del != nil && len(del.RangeEnd) == 0 {
			c.deleteAnswered(s, o, del, rev, err)
		}
		if r := o.op.GetRequestRange(); r != nil && o.ran {
			c.read(s, r, o.resp.GetResponseRange(), rev)
		}
		if o.failed != nil && o.failed.Target == pb.Compare_CREATE && o.failed.Result == pb.Compare_EQUAL {
			if e := c.entries[place{s.process, string(o.failed.Key)}]; e != nil && e.created != 0 && o.failed.GetCreateRevision() == e.created {
				e.missing(s, rev, "a condition on it has failed")
			}
		}
	}
	if resp != nil {
		c.refute(s, req, resp)
		c.judge(s, req, resp, all)
	}
}

// refute notes that conditions on entries of one group have failed.
func (c *checker) refute(s cursor, req *pb.TxnRequest, resp *pb.TxnResponse) {
	if resp.Succeeded || len(req.Compare) == 0 {
		return
	}
	var group []*entry
	for _, cond := range req.Compare {
		e := c.entries[place{s.process, string(cond.Key)}]
		if e == nil || e.created == 0 || len(cond.RangeEnd) != 0 || group != nil && &group[0] != &e.group[0] {
			return
		}
		if cond.GetCreateRevision() != e.created && cond.GetModRevision() != e.created {
			return
		}
		group = e.group
	}
	for _, e := range group {
		e.refuted = true
		e.note(s, "a condition on its group has failed", resp.Header.Revision)
	}
}

// putAnswered follows the answer to the put of an entry.
func (c *checker) putAnswered(s cursor, o operation, put *pb.PutRequest, all []operation, rev int64, err error) {
	e := c.entries[place{s.process, string(put.Key)}]
	if e == nil || e.value != string(put.Value) || !fresh(all) {
		return
	}
	switch {
	case err != nil && attempt.Uncertain(err):
		e.note(s, "put without an answer: "+err.Error(), 0)
		return
	case err != nil:
		e.putAnswered(s, 0)
		return
	case o.ran:
		e.putAnswered(s, rev)
		return
	}
	kv := readOf(all, e.group[0].key)
	switch {
	case kv == nil:
		e.putAnswered(s, 0)
	case string(kv.Value) == e.value && kv.Version == 1:
		e.puts--
		e.foundAt(s, kv.CreateRevision)
	default:
		e.putAnswered(s, 0)
		e.foreign(s)
	}
}

// fresh reports whether a transaction puts entries that are not there: one of their keys is
// asked for, since they come and go together.
func fresh(all []operation) bool {
	for _, o := range all {
		put := o.op.GetRequestPut()
		if put == nil || !isEntry(string(put.Key), put.Lease) {
			continue
		}
		for _, cond := range o.conds {
			if absence(cond, put.Key) {
				return true
			}
		}
	}
	return false
}

// readOf returns what a transaction has read of a key.
func readOf(all []operation, key string) *mvccpb.KeyValue {
	for _, o := range all {
		r := o.op.GetRequestRange()
		if r == nil || !o.ran || string(r.Key) != key || len(r.RangeEnd) != 0 {
			continue
		}
		if kvs := o.resp.GetResponseRange().Kvs; len(kvs) > 0 {
			return kvs[0]
		}
	}
	return nil
}

// deleteAnswered follows the answer to a deletion.
func (c *checker) deleteAnswered(s cursor, o operation, del *pb.DeleteRangeRequest, rev int64, err error) {
	e := c.meant(s, o, del.Key)
	switch {
	case e == nil, err != nil && attempt.Uncertain(err):
		return
	case o.ran && o.resp.GetResponseDeleteRange().Deleted > 0:
		e.deletes--
		e.deleteAnswered(s, rev)
		return
	}
	e.deletes--
	if err != nil && e.state == removing {
		e.state = unsettled
	}
	e.note(s, "deletion refused", rev)
}

// read follows the answer to a read of one of the process's own keys.
func (c *checker) read(s cursor, req *pb.RangeRequest, resp *pb.RangeResponse, rev int64) {
	if len(req.RangeEnd) != 0 || req.CountOnly && resp.Count > 0 {
		return
	}
	var created int64
	if len(resp.Kvs) > 0 {
		created = resp.Kvs[0].CreateRevision
	}
	c.over(s, string(req.Key), rev, created)
	e := c.entries[place{s.process, string(req.Key)}]
	if e == nil {
		return
	}
	if e.created == 0 {
		if created != 0 && !e.raw() && string(resp.Kvs[0].Value) == e.value { // a put without an answer has arrived
			e.foundAt(s, created)
		}
		return
	}
	if created != e.created {
		e.missing(s, rev, "found missing")
	}
}
