package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/conclave-go/conclave/examples/internal/screen"
	"github.com/conclave-go/conclave/internal/process"
)

// enough is how many hand-overs tell how long they take.
const enough = 20

// outage is a way in which nodes fail.
type outage struct {
	looks condition
	did   string // what begin does, for people
	undid string // and end
	begin func(context.Context, *stage, *server) error
	end   func(context.Context, *stage, []*server) error
	last  func(context.Context, *stage) error // what the holder does without a majority
}

// playCrash kills nodes until there is no majority, and starts them again.
func playCrash(ctx context.Context, s *stage) error {
	o := outage{
		looks: down, begin: crash, end: recoverNodes, last: awaitLoss,
		did: "is killed", undid: "are started again",
	}
	if s.servers.elsewhere() {
		o.did, o.undid = "is cut off from all workers", "can be reached again"
	}
	return o.play(ctx, s)
}

// playHang has nodes hang until there is no majority, and wakes them.
func playHang(ctx context.Context, s *stage) error {
	o := outage{
		looks: hung, begin: hang, end: healNodes, last: extendInTime,
		did: "hangs: connections stay open, nothing comes back", undid: "go on",
	}
	return o.play(ctx, s)
}

// play has nodes fail one after another, the youngest first, while the lock is handed
// around; the last of a majority while the first worker has it.
func (o *outage) play(ctx context.Context, s *stage) error {
	if err := errors.Join(s.warmUp(ctx), s.ask(askOn, s.members...)); err != nil {
		return err
	}
	nodes := s.servers.eldestFirst()
	total := len(nodes)
	if err := s.handOver(ctx, enough, fmt.Sprintf("%d of %d nodes up", total, total)); err != nil {
		return err
	}
	for i := range s.servers.minority() {
		if _, err := o.fail(ctx, s, nodes[total-1-i]); err != nil {
			return err
		}
		if err := s.handOver(ctx, enough, fmt.Sprintf("%d of %d nodes up", total-1-i, total)); err != nil {
			return err
		}
	}
	if err := s.rest(ctx, s.first()); err != nil {
		return err
	}
	if _, err := s.stays(ctx); err != nil {
		return err
	}
	failing := nodes[s.servers.quorum()-1:]
	at, err := o.fail(ctx, s, failing[0])
	if err != nil {
		return err
	}
	s.say(at, "that leaves no majority while %s has the lock", s.first().Name())
	if err := o.last(ctx, s); err != nil {
		return err
	}
	return o.recover(ctx, s, failing, at)
}

// fail has a node fail, and says when.
func (o *outage) fail(ctx context.Context, s *stage, n *server) (at int64, err error) {
	at = process.Now()
	if err := o.begin(ctx, s, n); err != nil {
		return 0, err
	}
	s.mark(n, o.looks)
	s.say(at, "node %d %s", n.number, o.did)
	return at, nil
}

// recover makes sure that nobody was granted the lock without a majority, and brings
// the nodes back.
func (o *outage) recover(ctx context.Context, s *stage, failing []*server, since int64) error {
	if err := s.watch(ctx, aftermath); err != nil {
		return err
	}
	if n := s.board.record.grantsAfter(since); n > 0 {
		return fmt.Errorf("without a majority the lock was granted %d times", n)
	}
	at := process.Now()
	s.say(at, "nobody else was granted the lock meanwhile; the nodes %s", o.undid)
	if err := o.end(ctx, s, failing); err != nil {
		return err
	}
	for _, n := range failing {
		s.mark(n, healthy)
	}
	e, err := s.await(ctx, "a grant", func(e event) bool { return e.Kind == granted && e.At > at })
	if err == nil {
		s.say(e.At, "%s has the lock, %s later", e.Worker, screen.Short(time.Duration(e.At-at)))
	}
	return err
}

// mark shows what is the matter with a node.
func (s *stage) mark(n *server, c condition) {
	s.board.nodes[n.number-1] = c
	s.view.update(s.board)
}

// crash kills a node; one that runs elsewhere is cut off.
func crash(ctx context.Context, s *stage, n *server) error {
	if n.cluster != nil {
		return n.kill()
	}
	for _, m := range s.members {
		m.ways[n.number-1].Refuse()
	}
	return nil
}

func recoverNodes(ctx context.Context, s *stage, nodes []*server) error {
	var errs []error
	for _, n := range nodes {
		if n.cluster != nil {
			errs = append(errs, n.restart(ctx, s.job.Name))
		}
	}
	return errors.Join(append(errs, healNodes(ctx, s, nodes))...)
}

// hang lets no byte pass to or from a node.
func hang(_ context.Context, s *stage, n *server) error {
	for _, m := range s.members {
		m.ways[n.number-1].Blackhole()
	}
	return nil
}

func healNodes(_ context.Context, s *stage, nodes []*server) error {
	for _, m := range s.members {
		for _, n := range nodes {
			m.ways[n.number-1].Heal()
		}
	}
	return nil
}

// awaitLoss waits until the first worker is told that it lost the lock.
func awaitLoss(ctx context.Context, s *stage) error {
	p := s.first()
	e, err := s.await(ctx, "the end of the hold of "+p.Name(), func(e event) bool { return e.is(lost, p.Name()) })
	if err == nil {
		s.say(e.At, "%s is told at its deadline: %s", p.Name(), e.Detail)
	}
	return err
}

// extendInTime has the first worker ask for more time, which must fail at the node
// timeout, and not at those of the client, and then give the lock up.
func extendInTime(ctx context.Context, s *stage) error {
	p := s.first()
	if err := s.ask(askExtend, p); err != nil {
		return err
	}
	e, err := s.await(ctx, "the end of Extend", func(e event) bool { return e.is(extended, p.Name()) || e.is(lost, p.Name()) })
	if err != nil {
		return err
	}
	timeout := nodeTimeout(s.job.TTL)
	switch {
	case e.Kind == lost: // the machine is busy: its time was over before it asked
		s.say(e.At, "%s is told: %s", p.Name(), e.Detail)
		return nil
	case e.OK:
		return errors.New("an Extend succeeded without a majority")
	case e.Took > clientTimeout:
		return fmt.Errorf("an Extend took %s: the node timeout is %s", e.Took, timeout)
	}
	s.say(e.At, "%s's Extend fails after %s: the node timeout is %s, go-redis's own 5 s", p.Name(), screen.Millis(e.Took), timeout)
	return s.ask(askUnlock, p)
}
