package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"charm.land/lipgloss/v2"

	"github.com/conclave-go/conclave/examples/internal/cluster"
	"github.com/conclave-go/conclave/examples/internal/program"
)

const (
	inStock      = 10
	firstSells   = 3
	secondSells  = 4
	shouldBeLeft = inStock - firstSells - secondSells
	// patience is how long an act may take, beyond four TTLs.
	patience = 20 * time.Second
)

// act is one of the two things to look at.
type act struct {
	name, title string
	guarded     bool
}

// result is what an act has shown.
type result struct {
	act

	first, second event // when each had the lock and looked
	late, told    event // what the first wrote, and heard from its Hold afterwards
	left          int64
}

// asExpected reports whether the condition has made the difference.
func (r *result) asExpected() bool {
	refused := r.late.Newer > r.late.Token
	return r.first.Token < r.second.Token && r.told.Lost != "" &&
		refused == r.guarded && (r.left == shouldBeLeft) == r.guarded
}

// performAct plays an act. What it has started is gone when it returns.
func performAct(ctx context.Context, c *cluster.Cluster, a act, o options, j job, v *view) (r result, err error) {
	limit := patience + 4*o.ttl
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("%s: not over within %s", a.name, limit))
	defer cancel()
	defer func() { err = program.CauseOr(ctx, err) }()
	j.Guarded, j.Etcd = a.guarded, c.Spec()
	table, err := openStock(j)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, table.db.Close()) }()
	if err := table.fill(ctx, inStock); err != nil {
		return r, err
	}
	s := &scene{ctx: ctx, view: v}
	j.Worker, j.Sells = "w2", secondSells
	s.w2 = &seller{job: j}
	j.Worker, j.Sells = "w1", firstSells
	s.w1 = &seller{job: j}
	defer func() { err = errors.Join(s.err, err, s.w1.close(), s.w2.close()) }()
	if o.soft {
		if s.w1.proxy, s.w1.job.Etcd, err = c.Proxy(); err != nil {
			return r, err
		}
	}
	r = s.play()
	r.act = a
	if s.err == nil {
		r.left, _, err = table.peek(ctx)
	}
	return r, err
}

// scene is an act being played. After the first error nothing happens any more.
type scene struct {
	ctx    context.Context // of the act
	view   *view
	w1, w2 *seller
	result result
	err    error
}

// play has w1 look, w2 overtake it, and w1 write.
func (s *scene) play() result {
	styles, r := s.view.Styles, &s.result
	s.do(s.w1.start)
	r.first = s.looks(s.w1)
	s.do(s.w2.start)
	s.say(styles.Dim, "w2 asks for the lock too")

	stopped := time.Now()
	s.do(func() error { return s.w1.stop(s.ctx) })
	s.say(styles.Title, "w1 is %s between its look and its write", s.w1.stopped())
	r.second = s.looks(s.w2)
	s.say(styles.Dim, "... %s later, when w1's lease has run out", time.Since(stopped).Round(10*time.Millisecond))
	s.sells(s.w2)

	s.do(s.w1.resume)
	s.say(styles.Title, "w1 goes on where it was")
	r.late, r.told = s.sells(s.w1)
	if r.late.Newer != 0 { // it takes the lock again
		s.looks(s.w1)
		s.sells(s.w1)
	}
	return *r
}

// looks waits until a worker has the lock and has looked at the stock.
func (s *scene) looks(p *seller) event {
	e := s.await(p, looked)
	s.say(lipgloss.Style{}, "%s holds the lock, token %s, and sees %d %s", p.job.Worker, e.Token, e.Amount, item)
	return e
}

// sells lets a worker write, and waits until it has given up the lock.
func (s *scene) sells(p *seller) (write, unlock event) {
	s.do(p.goOn)
	write = s.await(p, wrote)
	style := s.view.Styles.Good
	if write.Newer == 0 && write.Token < s.result.second.Token {
		style = s.view.Styles.Bad
	}
	s.say(style, "%s sells %d, so it writes %d: %s", p.job.Worker, p.job.Sells, write.Amount, outcome(write))
	if unlock = s.await(p, unlocked); unlock.Lost != "" {
		s.say(lipgloss.Style{}, "%s is told by its Hold: %s", p.job.Worker, unlock.Lost)
	}
	return write, unlock
}

// outcome says what the table made of a write.
func outcome(write event) string {
	if write.Newer != 0 {
		return fmt.Sprintf("refused: token %s < %s", write.Token, write.Newer)
	}
	return fmt.Sprintf("accepted, token %s", write.Token)
}

func (s *scene) do(step func() error) {
	if s.err == nil {
		s.err = step()
	}
}

func (s *scene) await(p *seller, k kind) (e event) {
	s.do(func() (err error) {
		e, err = p.await(s.ctx, k)
		return err
	})
	return e
}

func (s *scene) say(style lipgloss.Style, format string, args ...any) {
	if s.err == nil {
		s.view.Tell(style, format, args...)
	}
}
