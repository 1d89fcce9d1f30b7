package spec

import (
	"fmt"
	"slices"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

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
		if rev <= e.seen || e.absent {
			continue
		}
		e.oneLess(key, created, rev)
		if e.before == key && created != e.beforeCreated && e.next == 0 {
			e.next = rev
			e.note(s, "the one before it is gone", rev)
		}
		if e.next != 0 && e.alone() { // unless it is gone, too, which the history tells
			c.owned[e.identity()] = true
		}
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
		if e.next != 0 && rev >= e.next && (e.alone() || e.ordered() && c.led(s, e)) {
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
	e.waitsFor(s, older, rev, whole || resp.Count == int64(len(older))+1 && e.created == rev)
	for _, o := range older {
		p := place{s.process, o.Key}
		c.behind[p] = append(slices.DeleteFunc(c.behind[p], func(x *entry) bool { return x == e || x.state == gone }), e)
	}
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
	if t.Kind == claimed {
		c.claimed(s, t)
		return
	}
	e := c.find(s, t)
	switch t.Kind {
	case granted:
		c.claimed(s, t)
		if e != nil {
			c.granted(s, e, t)
		}
	case released:
		c.ended(s, e, t)
	case waited, claimed:
		if e != nil && t.Reason == lease.ReasonDeleted && e.created == t.Revision && e.created != 0 && !e.lost() {
			c.violated(s, fmt.Sprintf("%q of revision %d is given up as deleted, which no answer has shown", e.key, e.created), e.past())
		}
	}
}

// find returns the entry that an event is about, nil if it was not put under our eyes. A
// client may have a namespace, of which events do not know.
func (c *checker) find(s cursor, ev told) *entry {
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
func (c *checker) granted(s cursor, e *entry, ev told) {
	for _, g := range e.group {
		if g.owns == 0 && g.next != 0 && g.alone() {
			c.owns(s, g, g.next, "it is the next")
		}
		switch {
		case g.created != ev.Revision:
			c.violated(s, fmt.Sprintf("%q was granted as of revision %d, but is of revision %d", g.key, ev.Revision, g.created), g.past())
		case g.overtaken:
			g.overtaken, g.granted, g.held = false, true, true
			g.note(s, "granted via "+ev.Via.String()+", and gone already", 0)
			continue
		case g.state != waiting && g.state != owner:
			c.violated(s, fmt.Sprintf("%q was granted while it is %v", g.key, g.state), g.past())
		case g.absent:
			c.violated(s, fmt.Sprintf("%q was granted although it is known to be gone", g.key), g.past())
		case g.held:
			c.violated(s, fmt.Sprintf("%q was granted while another hold has it", g.key), g.past())
		case g.owns == 0:
			c.violated(s, fmt.Sprintf("%q was granted although no answer shows that nobody is in its way", g.key), g.past())
		}
		g.state, g.granted, g.held = owner, true, true
		g.note(s, "granted via "+ev.Via.String(), 0)
	}
}

// ended checks the end of a hold.
func (c *checker) ended(s cursor, e *entry, ev told) {
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
