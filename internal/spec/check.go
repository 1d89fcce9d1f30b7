package spec

import (
	"fmt"
	"slices"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"github.com/conclave-go/conclave/internal/attempt"
	"github.com/conclave-go/conclave/lease"
)

// Check returns where the run has left the specification, the first few times.
func (r *Run) Check(h History) []*ViolationError {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := &checker{
		run: r, entries: make(map[place]*entry), known: make(map[string]bool), behind: make(map[place][]*entry), owned: make(map[identity]bool),
		calls: make(map[callID]sentCall), leases: make(map[int]map[int64]*deadline),
	}
	for i, st := range r.steps {
		s := cursor{i, st.process, st.at}
		switch what := st.what.(type) {
		case Message:
			c.message(s, what)
		case told:
			c.told(s, what)
		}
	}
	h.verify(c.claims, func(cl claim, by string) {
		s := cursor{step: cl.step, process: cl.entry.process}
		c.violated(s, fmt.Sprintf("an answer of revision %d shows that %q of revision %d owns, but in the store's history %s",
			cl.revision, cl.entry.key, cl.entry.created, by), cl.entry.past())
	})
	return c.violations
}

// mostViolations is how many are told: one leads to others.
const mostViolations = 3

// cursor is where in a run a step is.
type cursor struct {
	step    int
	process int
	at      time.Duration
}

// place is a key as a process uses it.
type place struct {
	process int
	key     string
}

type callID struct {
	process int
	call    int64
}

// identity is an entry that a process had put.
type identity struct {
	process int
	key     string
	created int64
}

func (e *entry) identity() identity { return identity{e.process, e.key, e.created} }

// sentCall is a request that is not answered.
type sentCall struct {
	at  cursor
	req proto.Message
}

// checker goes through a run.
type checker struct {
	run        *Run
	entries    map[place]*entry   // the last that a process has put under a key
	known      map[string]bool    // keys of entries, of whatever process
	owned      map[identity]bool  // those that have come to own, or could have
	behind     map[place][]*entry // those that have waited for the entry under a key
	calls      map[callID]sentCall
	leases     map[int]map[int64]*deadline
	claims     []claim
	violations []*ViolationError
}

func (c *checker) violated(s cursor, what string, trail []string) {
	if len(c.violations) < mostViolations {
		name := c.run.names[s.process]
		c.violations = append(c.violations, &ViolationError{Step: s.step, What: name + ": " + what, Trail: trail})
	}
}

// message follows what was sent or received.
func (c *checker) message(s cursor, m Message) {
	if m.Stream {
		c.streamed(s, m)
		return
	}
	id := callID{s.process, m.Call}
	if m.Request != nil {
		c.calls[id] = sentCall{s, m.Request}
		c.sent(s, m.Request)
		return
	}
	call, ok := c.calls[id]
	if !ok {
		return
	}
	delete(c.calls, id)
	c.answered(s, call, m)
}

func (c *checker) sent(s cursor, req proto.Message) {
	switch req := req.(type) {
	case *pb.TxnRequest:
		c.txnSent(s, req)
	case *pb.DeleteRangeRequest: // by hand, or by another library
		if e := c.entries[place{s.process, string(req.Key)}]; e != nil && len(req.RangeEnd) == 0 {
			e.deleteSent(s)
		}
	case *pb.LeaseGrantRequest:
		c.grantSent(s, req)
	}
}

func (c *checker) answered(s cursor, call sentCall, m Message) {
	switch req := call.req.(type) {
	case *pb.TxnRequest:
		resp, _ := m.Response.(*pb.TxnResponse)
		c.txnAnswered(s, req, resp, m.Err)
	case *pb.RangeRequest:
		if resp, ok := m.Response.(*pb.RangeResponse); ok {
			c.read(s, req, resp, resp.Header.Revision)
		}
	case *pb.DeleteRangeRequest:
		e := c.entries[place{s.process, string(req.Key)}]
		if resp, ok := m.Response.(*pb.DeleteRangeResponse); ok && e != nil && len(req.RangeEnd) == 0 {
			e.missing(s, resp.Header.Revision, "deleted by hand")
		}
	case *pb.LeaseGrantRequest:
		resp, _ := m.Response.(*pb.LeaseGrantResponse)
		c.grantAnswered(s, call.at, req, resp, m.Err)
	}
	if m.Err == nil && quorum(call.req) {
		c.confirm(s, call.at, headerOf(m.Response).GetRaftTerm())
	}
}

// streamed follows a message on a stream.
func (c *checker) streamed(s cursor, m Message) {
	if req, ok := m.Request.(*pb.LeaseKeepAliveRequest); ok {
		c.renewalSent(s, m.Call, req)
	}
	switch resp := m.Response.(type) {
	case *pb.LeaseKeepAliveResponse:
		c.renewalAnswered(s, m.Call, resp)
	case *pb.WatchResponse:
		for _, ev := range resp.Events {
			c.happened(s, ev)
		}
	}
}

// happened follows an event of a watch.
func (c *checker) happened(s cursor, ev *mvccpb.Event) {
	key, rev := string(ev.Kv.Key), ev.Kv.ModRevision
	deleted := ev.Type == mvccpb.Event_DELETE
	if e := c.entries[place{s.process, key}]; e != nil && rev > e.created && (deleted || ev.Kv.CreateRevision != e.created) {
		e.missing(s, rev, "an event says that it is gone")
	}
	if !deleted {
		return
	}
	c.over(s, key, rev, 0)
}

// over notes that a key is gone, or one of another revision, which others of the process
// wait for.
func (c *checker) over(s cursor, key string, rev, created int64) {
	for _, e := range c.behind[place{s.process, key}] {
		if e.before == key && created != e.beforeCreated && rev > e.seen && e.next == 0 && !e.absent {
			e.next = rev
			e.note(s, "the one before it is gone", rev)
			if e.alone { // unless it is gone, too, which the history tells
				c.owned[e.identity()] = true
			}
		}
	}
}

// txnSent checks what a transaction would do.
func (c *checker) txnSent(s cursor, req *pb.TxnRequest) {
	groups := make(map[string][]*entry) // by what they say: the keys of one acquisition say the same
	var put []*entry
	all := operations(req, nil)
	for _, o := range all {
		if kv := o.op.GetRequestPut(); kv != nil && isEntry(string(kv.Key), kv.Lease) {
			if fresh(all) {
				e := c.putSent(s, kv)
				groups[e.value] = append(groups[e.value], e)
				if slices.ContainsFunc(put, e.sharesQueue) {
					c.violated(s, fmt.Sprintf("a transaction puts two entries into the queue of %q", e.key), e.past())
				}
				put = append(put, e)
			} else {
				c.putAgainSent(s, o, kv)
			}
		}
		if del := o.op.GetRequestDeleteRange(); del != nil && len(del.RangeEnd) == 0 && c.known[string(del.Key)] {
			c.deleteSent(s, o, del)
		}
		for _, cond := range o.conds {
			if len(cond.RangeEnd) == 0 && c.known[string(cond.Key)] && !harmless(cond) {
				c.violated(s, fmt.Sprintf("a condition on %q does not say which entry it means: %v", cond.Key, cond), c.pastOf(s, cond.Key))
			}
		}
	}
	for _, group := range groups {
		for _, e := range group {
			e.group = group
		}
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

// judge finds out from an answer which of the process's entries own: those that the same
// transaction shows to be there, with what it has read of those that could be in their
// way.
func (c *checker) judge(s cursor, req *pb.TxnRequest, resp *pb.TxnResponse, all []operation) {
	rev := resp.Header.Revision
	for _, o := range all {
		e := c.shown(s, o, rev)
		if e == nil || e.owns != 0 {
			continue
		}
		if resp.Succeeded && e.created == rev && free(req.Compare, e) {
			c.owns(s, e, rev, "put where it was free")
			continue
		}
		if e.next != 0 && rev >= e.next && (e.alone || e.ordered() && c.led(s, e)) {
			c.owns(s, e, rev, "it is there, and the oldest before it is not")
			continue
		}
		for _, other := range all {
			r := other.op.GetRequestRange()
			if r == nil || !other.ran || !coversAll(r.Key, r.RangeEnd, e.lane.behind) {
				continue
			}
			c.compare(s, e, r, other.resp.GetResponseRange(), rev)
		}
	}
}

// led reports whether the one before e, of the same process, has owned in e's own queue: of one
// that this is within, that says nothing.
func (c *checker) led(s cursor, e *entry) bool {
	return laneOf(e.before).behind == e.lane.behind && c.owned[identity{s.process, e.before, e.beforeCreated}]
}

// shown returns the entry that an operation shows to be there.
func (c *checker) shown(s cursor, o operation, rev int64) *entry {
	if !o.ran {
		return nil
	}
	if put := o.op.GetRequestPut(); put != nil {
		if e := c.entries[place{s.process, string(put.Key)}]; e != nil && e.created == rev {
			return e
		}
		return nil
	}
	r := o.op.GetRequestRange()
	if r == nil || len(r.RangeEnd) != 0 {
		return nil
	}
	e := c.entries[place{s.process, string(r.Key)}]
	kvs := o.resp.GetResponseRange().Kvs
	if e == nil || e.created == 0 || len(kvs) == 0 || kvs[0].CreateRevision != e.created {
		return nil
	}
	return e
}

// free reports whether conditions say that nobody is in the way of an entry that is put.
func free(conds []*pb.Compare, e *entry) bool {
	for _, cond := range conds {
		if len(cond.RangeEnd) == 0 || !coversAll(cond.Key, cond.RangeEnd, e.lane.behind) {
			continue
		}
		if absence(cond, []byte(e.lane.behind)) {
			return true
		}
		if e.lane.reads && cond.Target == pb.Compare_VERSION && cond.Result == pb.Compare_NOT_EQUAL && cond.GetVersion() == 1 {
			return true
		}
	}
	return false
}

// compare finds out from a read of the entry's queue whether it owns.
func (c *checker) compare(s cursor, e *entry, req *pb.RangeRequest, resp *pb.RangeResponse, rev int64) {
	if req.MinCreateRevision > 0 || req.MaxCreateRevision > 0 && req.MaxCreateRevision < e.created-1 || req.MinModRevision > 0 || req.MaxModRevision > 0 {
		return
	}
	var older []Change
	whole := !resp.More
	for _, kv := range resp.Kvs {
		if kv.CreateRevision < e.created {
			older = append(older, Change{Key: string(kv.Key), Created: kv.CreateRevision, Version: kv.Version})
		}
	}
	// One that has read on to an older entry, or from the oldest on to itself, has read
	// enough of a queue in which the nearest decides.
	ordered := req.SortTarget == pb.RangeRequest_CREATE && req.SortOrder != pb.RangeRequest_NONE
	switch {
	case whole:
	case !ordered:
		return
	case e.lane.weight > 0 && req.SortOrder == pb.RangeRequest_DESCEND:
		return
	case req.SortOrder == pb.RangeRequest_DESCEND && len(older) == 0:
		return
	}
	if e.lane.inTheWay(older) == "" {
		c.owns(s, e, rev, "nobody is in its way")
		return
	}
	e.waitsFor(s, older, rev, whole || resp.Count == 2 && e.created == rev)
	p := place{s.process, e.before}
	c.behind[p] = append(slices.DeleteFunc(c.behind[p], func(x *entry) bool { return x == e || x.state == gone }), e)
}

// owns notes that an answer shows that nobody is in an entry's way.
func (c *checker) owns(s cursor, e *entry, rev int64, how string) {
	if rev < e.created {
		return
	}
	e.owns = rev
	c.owned[e.identity()] = true
	c.claims = append(c.claims, claim{e, rev, s.step})
	e.note(s, how, rev)
}

// told follows what a session has told its observer.
func (c *checker) told(s cursor, t told) {
	if t.kind == claimed {
		c.claimed(s, t)
		return
	}
	e := c.find(s, t.event)
	switch t.kind {
	case granted:
		c.claimed(s, t)
		if e != nil {
			c.granted(s, e, t.event)
		}
	case released:
		c.ended(s, e, t.event)
	case waited, claimed:
		if e != nil && t.event.Reason == lease.ReasonDeleted && e.created == t.event.Revision && e.created != 0 && !e.lost() {
			c.violated(s, fmt.Sprintf("%q of revision %d is given up as deleted, which no answer has shown", e.key, e.created), e.past())
		}
	}
}

// find returns the entry that an event is about, nil if it was not put under our eyes. A
// client may have a namespace, of which events do not know.
func (c *checker) find(s cursor, ev lease.Event) *entry {
	if e := c.entries[place{s.process, ev.Key}]; e != nil || ev.Key == "" {
		return e
	}
	for p, e := range c.entries {
		if p.process == s.process && e.created == ev.Revision && strings.HasSuffix(p.key, ev.Key) {
			return e
		}
	}
	return nil
}

// granted checks a grant: waiting, or owner if it was handed on, to owner.
func (c *checker) granted(s cursor, e *entry, ev lease.Event) {
	for _, g := range e.group {
		if g.owns == 0 && g.next != 0 && g.alone {
			c.owns(s, g, g.next, "it is the next")
		}
		switch {
		case g.created != ev.Revision:
			c.violated(s, fmt.Sprintf("%q was granted as of revision %d, but is of revision %d", g.key, ev.Revision, g.created), g.past())
		case g.state != waiting && g.state != owner:
			c.violated(s, fmt.Sprintf("%q was granted while it is %v", g.key, g.state), g.past())
		case g.absent:
			c.violated(s, fmt.Sprintf("%q was granted although it is known to be gone", g.key), g.past())
		case g.held:
			c.violated(s, fmt.Sprintf("%q was granted while another hold has it", g.key), g.past())
		case g.owns == 0:
			c.violated(s, fmt.Sprintf("%q was granted although no answer shows that nobody is in its way", g.key), g.past())
		}
		g.state, g.held = owner, true
		g.note(s, "granted via "+ev.Via.String(), 0)
	}
}

// ended checks the end of a hold.
func (c *checker) ended(s cursor, e *entry, ev lease.Event) {
	if e == nil || e.created != ev.Revision {
		return
	}
	for _, g := range e.group {
		g.held = false
		g.note(s, "hold ended", 0)
	}
	if ev.Reason == lease.ReasonDeleted && !e.lost() {
		c.violated(s, fmt.Sprintf("the hold of %q of revision %d ended as deleted, which no answer has shown", e.key, e.created), e.past())
	}
}

// pastOf returns the trail of the process's entry under a key.
func (c *checker) pastOf(s cursor, key []byte) []string {
	if e := c.entries[place{s.process, string(key)}]; e != nil {
		return e.past()
	}
	return nil
}
