package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strconv"
	"time"

	"charm.land/lipgloss/v2"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/examples/internal/screen"
	"github.com/conclave-go/conclave/examples/internal/theatre"
)

const (
	blindAtOnce, blindRounds = 8, 5
	crowd, spreadOver        = 16, 64
	mostWork                 = time.Second // a crowd's locked additions then take seconds
)

// show measures copies of the program.
type show struct {
	*theatre.Stage

	duration, work time.Duration
	measured       map[string]measured // by copy, once it has ended
	last           measured
	rows           []row
}

// measured is what a copy of the program logs.
type measured struct {
	Additions, Tries int
	Elapsed, P99     time.Duration
}

func (m measured) perSecond() float64 { return float64(m.Additions) / m.Elapsed.Seconds() }
func (m measured) triesEach() float64 { return float64(m.Tries) / float64(m.Additions) }

// row is both ways side by side.
type row struct {
	atOnce, numbers int
	work            time.Duration
	swap, lock      measured
}

func (r row) ratio() float64 { return r.swap.perSecond() / r.lock.perSecond() }

func (s *show) flags(fs *flag.FlagSet) (check func() error) {
	fs.DurationVar(&s.duration, "duration", 500*time.Millisecond, "length of each of the 22 measurements")
	fs.DurationVar(&s.work, "work", 5*time.Millisecond, "simulated work between read and write, where there is any")
	return func() error {
		switch {
		case s.duration <= 0:
			return fmt.Errorf("-duration %s: must be positive", s.duration)
		case s.work <= 0 || s.work > mostWork:
			return fmt.Errorf("-work %s: must be positive, and at most %s", s.work, mostWork)
		}
		return nil
	}
}

func (s *show) acts(ctx context.Context, stage *theatre.Stage) {
	s.Stage, s.measured = stage, make(map[string]measured)
	stage.Hear, stage.Patience = s.hear, stage.Patience+s.duration+(crowd+1)*s.work
	s.Act("1/4  Neither: %d workers read, then each writes what it read plus one.", blindAtOnce)
	s.Do(func() error { return addBlindly(ctx, s.Client, "blind/0") })
	var n int
	s.Do(func() (err error) { n, err = sum(ctx, s.Client, "blind/0"); return err })
	s.Say(s.Styles.Bad, "after %d additions the number is %d: %d are lost", blindRounds*blindAtOnce, n, blindRounds*blindAtOnce-n)
	s.Act("2/4  One number, and nothing between read and write.")
	for _, n := range []int{1, 2, 4, 8, crowd} {
		s.compare(ctx, row{atOnce: n, numbers: 1})
	}
	s.Act("3/4  One number, and %s of work between read and write.", s.work)
	for _, n := range []int{1, 2, 4, 8, crowd} {
		s.compare(ctx, row{atOnce: n, numbers: 1, work: s.work})
	}
	s.Act("4/4  %d numbers, chosen at random, and %s of work.", spreadOver, s.work)
	s.compare(ctx, row{atOnce: crowd, numbers: spreadOver, work: s.work})
	s.Do(func() error { s.sumUp(); return nil })
}

// hear takes the result of a copy.
func (s *show) hear(l theatre.Line) error {
	switch l.Msg {
	case "added":
		return l.Read(&s.last)
	case theatre.Ended:
		if l.Detail != "" {
			return errors.New(l.Detail)
		}
		s.measured[l.Copy] = s.last
	}
	return nil
}

// compare measures both ways, one after the other, on keys of their own.
func (s *show) compare(ctx context.Context, r row) {
	r.swap, r.lock = s.measure(ctx, r, "swap"), s.measure(ctx, r, "lock", "-lock")
	s.Say(s.Styles.Dim, "%2d at once: %.0f/s swapping (%.2f tries), %.0f/s locking, ratio %.2f",
		r.atOnce, r.swap.perSecond(), r.swap.triesEach(), r.lock.perSecond(), r.ratio())
	s.rows = append(s.rows, r)
}

// measure runs a copy, and adds up the numbers afterwards: each addition must be in them exactly
// once.
func (s *show) measure(ctx context.Context, r row, way string, args ...string) measured {
	name := way + strconv.Itoa(len(s.rows))
	s.Run(name, append(args, "-prefix", name+"/", "-numbers", strconv.Itoa(r.numbers), "-workers", strconv.Itoa(r.atOnce),
		"-work", r.work.String(), "-duration", s.duration.String())...)
	s.Until(ctx, "the end of "+name, func() bool { return s.measured[name].Additions > 0 })
	s.Do(func() error {
		n, err := sum(ctx, s.Client, name+"/")
		if err == nil && n != s.measured[name].Additions {
			err = fmt.Errorf("%s: the numbers add up to %d after %d additions", name, n, s.measured[name].Additions)
		}
		return err
	})
	return s.measured[name]
}

// addBlindly shows what both ways prevent: all workers have read before the first one writes.
func addBlindly(ctx context.Context, client *clientv3.Client, key string) error {
	for range blindRounds {
		var writes []string
		for range blindAtOnce {
			n, err := sum(ctx, client, key)
			if err != nil {
				return err
			}
			writes = append(writes, strconv.Itoa(n+1))
		}
		for _, w := range writes {
			if _, err := client.Put(ctx, key, w); err != nil {
				return err
			}
		}
	}
	return nil
}

// sum adds up the numbers under a prefix.
func sum(ctx context.Context, client *clientv3.Client, prefix string) (total int, err error) {
	resp, err := client.Get(ctx, prefix, clientv3.WithPrefix())
	if err != nil {
		return 0, err
	}
	for _, kv := range resp.Kvs {
		n, err := strconv.Atoi(string(kv.Value))
		if err != nil {
			return 0, fmt.Errorf("%s: %w", kv.Key, err)
		}
		total += n
	}
	return total, nil
}

// sumUp shows the table, and says in figures which of the two is better when. The first row is
// one worker alone; the last are a crowd, on one number and spread over many.
func (s *show) sumUp() {
	var rows [][]string
	for _, r := range s.rows {
		style := lipgloss.Style{}
		if r.ratio() >= 1 {
			style = s.Styles.Good
		}
		rows = append(rows, []string{
			r.work.String(), strconv.Itoa(r.atOnce), strconv.Itoa(r.numbers), fmt.Sprintf("%.0f", r.swap.perSecond()),
			fmt.Sprintf("%.2f", r.swap.triesEach()), screen.Millis(r.swap.P99), fmt.Sprintf("%.0f", r.lock.perSecond()),
			screen.Millis(r.lock.P99), style.Render(fmt.Sprintf("%.2f", r.ratio())),
		})
	}
	s.Printf("%s", screen.Table([]string{"work", "at once", "numbers", "swaps/s", "tries", "p99", "locks/s", "p99", "ratio"}, rows, s.Width()))
	alone, many, spread := s.rows[0], s.rows[len(s.rows)-2], s.rows[len(s.rows)-1]
	s.Printf("\n%s\n", s.Wrap(fmt.Sprintf("Alone, swapping is %.1f times as fast: it needs two round trips, locking four. "+
		"With %d at once on one number, each change is worked out %.1f times and one in a hundred waits %.1f times as long as under the lock, "+
		"which works out each once and serves in order. Spread over %d numbers it is worked out %.2f times. "+
		"So: swap where conflicts are rare and work is cheap to repeat; "+
		"lock where it is dear, has effects elsewhere, or everybody must get a turn.",
		alone.ratio(), many.atOnce, many.swap.triesEach(), float64(many.swap.P99)/float64(many.lock.P99),
		spread.numbers, spread.swap.triesEach())))
}
