package spec

import (
	"errors"
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// deadline is what can be known of how long a lease lasts.
type deadline struct {
	// sent is when the first grant with its ID was, and asked the TTL.
	sent  time.Duration
	asked time.Duration
	known bool
	until time.Duration
	// sends are renewals without an answer, by stream, in order; acked are those with one that
	// nothing has confirmed.
	sends map[int64][]time.Duration
	acked []acknowledged
	trail []string
}

// acknowledged is an answer to a renewal.
type acknowledged struct {
	sent time.Duration
	ttl  time.Duration
	term uint64
	step int
}

func (d *deadline) note(s cursor, format string, args ...any) {
	if len(d.trail) == longestTrail {
		d.trail = append(d.trail[:1], d.trail[2:]...)
	}
	d.trail = append(d.trail, fmt.Sprintf("%6d %10v ", s.step, s.at.Round(time.Microsecond))+fmt.Sprintf(format, args...))
}

// extend moves the deadline to that of a request sent at some time.
func (d *deadline) extend(sent, ttl time.Duration, drift float64) {
	d.known = true
	d.until = max(d.until, sent+ttl-time.Duration(float64(ttl)*drift))
}

func seconds(n int64) time.Duration { return time.Duration(n) * time.Second }

// grantSent and grantAnswered note a request for a lease.
func (c *checker) grantSent(s cursor, req *pb.LeaseGrantRequest) {
	if req.ID == 0 {
		return // of another library
	}
	if d := c.lease(s.process, req.ID); d.asked == 0 {
		d.sent, d.asked = s.at, seconds(req.TTL)
		d.note(s, "grant sent")
	}
}

func (c *checker) grantAnswered(s, sent cursor, req *pb.LeaseGrantRequest, resp *pb.LeaseGrantResponse, err error) {
	if req.ID == 0 {
		return
	}
	d := c.lease(s.process, req.ID)
	switch {
	case err == nil:
		d.extend(sent.at, seconds(resp.TTL), c.run.Drift)
	case errors.Is(rpctypes.Error(err), rpctypes.ErrLeaseExist):
		d.extend(d.sent, d.asked, c.run.Drift)
	}
	d.note(s, "grant answered: until %v", d.until)
}

func (c *checker) renewalSent(s cursor, stream int64, req *pb.LeaseKeepAliveRequest) {
	d := c.lease(s.process, req.ID)
	if d.sends == nil {
		d.sends = make(map[int64][]time.Duration)
	}
	d.sends[stream] = append(d.sends[stream], s.at)
	d.note(s, "renewal sent on stream %d", stream)
}

func (c *checker) renewalAnswered(s cursor, stream int64, resp *pb.LeaseKeepAliveResponse) {
	d := c.lease(s.process, resp.ID)
	sends := d.sends[stream]
	if len(sends) == 0 {
		return
	}
	d.sends[stream] = sends[1:]
	if resp.TTL > 0 {
		d.acked = append(d.acked, acknowledged{sends[0], seconds(resp.TTL), resp.Header.GetRaftTerm(), s.step})
	}
	d.note(s, "renewal of %v answered with %d s in term %d", sends[0], resp.TTL, resp.Header.GetRaftTerm())
}

// confirm notes an answer that came through a quorum: to a request sent after a renewal
// was acknowledged, it confirms that, unless its term is later.
func (c *checker) confirm(s, sent cursor, term uint64) {
	for _, d := range c.leases[s.process] {
		left := d.acked[:0]
		for _, a := range d.acked {
			switch {
			case a.step >= sent.step || term > a.term:
				left = append(left, a)
			default:
				d.extend(a.sent, a.ttl, c.run.Drift)
				d.note(s, "confirmed in term %d: until %v", term, d.until)
			}
		}
		d.acked = left
	}
}

// rounding is what a deadline may be later for arithmetic.
const rounding = time.Millisecond

// claimed checks a deadline that a lease has told.
func (c *checker) claimed(s cursor, t told) {
	d := c.leases[s.process][t.Lease]
	if d == nil || !d.known { // not granted under our eyes
		return
	}
	if t.Deadline != 0 && t.Deadline > d.until+rounding {
		c.violated(s, fmt.Sprintf("lease %x says that its deadline is %v, which nothing justifies: it is %v", t.Lease, t.Deadline, d.until), d.trail)
	}
	if t.Kind == granted && s.at-c.run.Slack >= d.until {
		c.violated(s, fmt.Sprintf("%q was granted at %v, after the deadline %v of its lease", t.Key, s.at, d.until), d.trail)
	}
}

func (c *checker) lease(process int, id int64) *deadline {
	all := c.leases[process]
	if all == nil {
		all = make(map[int64]*deadline)
		c.leases[process] = all
	}
	if all[id] == nil {
		all[id] = &deadline{}
	}
	return all[id]
}
