package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/conclave-go/conclave/examples/internal/screen"
	"github.com/conclave-go/conclave/internal/process"
)

const (
	// tries is how often a fault that is to show two holders may be repeated: on a busy
	// machine the holder may be told before the other asks.
	tries = 3
	// several is how often others write before the holder that does not know of them.
	several = 5
)

// playRestart has a node come back without its keys: one of the bare majority on which
// the first worker has the lock, because it does not reach the others.
func playRestart(ctx context.Context, s *stage) error {
	return s.breakUp(ctx, func(ctx context.Context) (int64, error) {
		nodes := s.servers.eldestFirst()
		majority, rest := nodes[:s.servers.quorum()], nodes[s.servers.quorum():]
		for _, n := range rest {
			s.first().ways[n.number-1].Refuse()
		}
		hold, err := s.stays(ctx)
		if err != nil {
			return 0, err
		}
		s.say(hold.At, "%s has the lock, on %s", s.first().Name(), numbers(majority))
		n := majority[len(majority)-1]
		if err := n.awaitRenewal(ctx, s.job.Name); err != nil {
			return 0, err
		}
		at := process.Now()
		if err := n.restart(ctx, s.job.Name); err != nil {
			return 0, err
		}
		s.mark(n, forgetful)
		s.say(at, "node %d %s", n.number, s.servers.restarts())
		return at, nil
	})
}

// playJump has the clocks of a majority jump forward by a TTL.
func playJump(ctx context.Context, s *stage) error {
	return s.breakUp(ctx, func(ctx context.Context) (int64, error) {
		hold, err := s.stays(ctx)
		if err != nil {
			return 0, err
		}
		s.say(hold.At, "%s has the lock", s.first().Name())
		majority := s.servers.list[:s.servers.quorum()]
		if err := awaitRenewals(ctx, majority, s.job.Name); err != nil {
			return 0, err
		}
		at := process.Now()
		for _, n := range majority {
			if err := n.jump(ctx, s.job.Name, s.job.TTL); err != nil {
				return 0, err
			}
			s.mark(n, ahead)
		}
		s.say(at, "the clocks of %d of %d nodes jump %s ahead%s", len(majority), len(s.servers.list), s.job.TTL, s.servers.jumps())
		return at, nil
	})
}

// awaitRenewals returns just after all nodes have been renewed: one to which the renewal
// comes after the jump would be given the key again.
func awaitRenewals(ctx context.Context, nodes []*server, key string) error {
	errs := make([]error, len(nodes))
	var all sync.WaitGroup
	for i, n := range nodes {
		all.Go(func() { errs[i] = n.awaitRenewal(ctx, key) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// numbers lists nodes.
func numbers(nodes []*server) string {
	if len(nodes) == 1 {
		return fmt.Sprintf("node %d", nodes[0].number)
	}
	var list []string
	for _, n := range nodes {
		list = append(list, strconv.Itoa(n.number))
	}
	return "nodes " + strings.Join(list, ", ")
}

// breakUp has the first worker take the lock and something happen to it, and then the
// others ask for it. It tries again where that shows nothing that is to be shown.
func (s *stage) breakUp(ctx context.Context, fault func(context.Context) (int64, error)) error {
	if err := s.warmUp(ctx); err != nil {
		return err
	}
	for try := range tries {
		if try > 0 {
			s.say(process.Now(), "%s was told first: once more", s.first().Name())
			s.first().heal()
			if err := s.rest(ctx, s.others()...); err != nil {
				return err
			}
		}
		at, err := fault(ctx)
		if err != nil {
			return err
		}
		if err := s.ask(askOn, s.others()...); err != nil {
			return err
		}
		if err := s.succeeded(ctx, at); err != nil {
			return err
		}
		if !s.breaks || s.board.record.together() > 0 {
			break
		}
	}
	return s.watch(ctx, aftermath)
}

// succeeded waits until the first worker was told that it lost the lock and another has
// it, in whichever order; if the first does not know yet, it writes what it asked its
// Hold for.
func (s *stage) succeeded(ctx context.Context, fault int64) error {
	p := s.first().Name()
	var told, next event
	writes := 0
	_, err := s.await(ctx, "the end of the hold of "+p, func(e event) bool {
		switch {
		case e.is(lost, p):
			told = e
			s.say(e.At, "%s is told, %s after that: %s", p, screen.Short(time.Duration(e.At-fault)), e.Detail)
		case e.Kind == granted && e.Worker != p && next.At == 0:
			next = e
			s.say(e.At, "%s is granted the lock, %s after that", e.Worker, screen.Short(time.Duration(e.At-fault)))
		case e.Kind == wrote && e.Worker != p && next.At != 0 && told.At == 0:
			if writes++; writes == several {
				// They fail if the worker is gone, which is reported by itself.
				_ = s.ask(askCheck, s.first())
				_ = s.ask(askWrite, s.first())
			}
		case e.is(wrote, p):
			s.say(e.At, "%s writes, as its Hold still says that all is well", p)
		}
		return told.At != 0 && next.At != 0
	})
	return err
}
