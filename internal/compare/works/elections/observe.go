package elections

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/election"
	"github.com/conclave-go/conclave/internal/compare/perf"
	"github.com/conclave-go/conclave/internal/compare/works/pairs"
)

const (
	// proclamations is how many are made in a round, idle how long nothing happens before each.
	proclamations = 40
	idle          = 5 * time.Millisecond
)

var errNoNews = errors.New("the observer was not told")

func observe() perf.Work {
	return perf.Work{
		Name:    "election/observe",
		Title:   "from the call of Proclaim to the news at an observer",
		On:      perf.EtcdFast,
		Metrics: []perf.Metric{{Name: "news", Unit: "ms", Stats: []perf.Stat{perf.P50, perf.P90}}},
		Rounds:  10, Quick: 2,
		Begin: beginObserve,
	}
}

// newsroom is a leader and an observer.
type newsroom struct {
	proclaim func(ctx context.Context, value string) error
	// next returns what the observer is told next; false if it is told no more.
	next func() (string, bool)
}

func beginObserve(ctx context.Context, on *perf.Env) ([]perf.Side, func() error, error) {
	var b begun
	ctx, cancel := context.WithCancel(ctx)
	end := func() error {
		cancel()
		return b.end(ctx)
	}
	var sides []perf.Side
	for _, open := range []struct {
		name, lacks string
		newsroom    func(ctx context.Context, b *begun, leader, observer *clientv3.Client, name string) (newsroom, error)
	}{
		{"conclave", "", newsConclave},
		{"clientv3/concurrency", "no news that nobody leads; ends without an error", newsOfficial},
		{"raw", "a transaction and a watch of one key", newsRaw},
	} {
		leader, err := on.Client(ctx)
		if err != nil {
			return nil, nil, errors.Join(err, end())
		}
		observer, err := on.Client(ctx)
		if err != nil {
			return nil, nil, errors.Join(err, end())
		}
		room, err := open.newsroom(ctx, &b, leader, observer, fmt.Sprintf("observe-%s-%08x", open.name, rand.Uint32()))
		if err != nil {
			return nil, nil, errors.Join(err, end())
		}
		sides = append(sides, perf.Side{Name: open.name, Lacks: open.lacks, Round: func(ctx context.Context) (perf.Samples, error) {
			took, err := room.round(ctx, proclamations)
			return perf.Samples{"news": took}, err
		}})
	}
	return sides, end, nil
}

// round makes n proclamations and returns how many milliseconds each took.
func (r newsroom) round(ctx context.Context, n int) (took []float64, err error) {
	for i := range n {
		if err := pairs.Pause(ctx, idle); err != nil {
			return nil, err
		}
		value := fmt.Sprintf("proclamation %06d", i)
		start := time.Now()
		if err := r.proclaim(ctx, value); err != nil {
			return nil, err
		}
		if told, ok := r.next(); !ok || told != value {
			return nil, fmt.Errorf("%w of %q: %q", errNoNews, value, told)
		}
		took = append(took, pairs.Millis(time.Since(start)))
	}
	return took, nil
}

func newsConclave(ctx context.Context, b *begun, leader, observer *clientv3.Client, name string) (newsroom, error) {
	e, err := b.conclave(ctx, leader, name)
	if err != nil {
		return newsroom{}, err
	}
	term, err := e.Campaign(ctx, "")
	if err != nil {
		return newsroom{}, err
	}
	news, stop := iter.Pull2(election.Observe(ctx, observer, name))
	b.atEnd(func(context.Context) error { stop(); return nil })
	if _, err, ok := news(); !ok || err != nil { // who leads
		return newsroom{}, errors.Join(errNoNews, err)
	}
	return newsroom{term.Proclaim, func() (string, bool) {
		l, err, ok := news()
		return l.Value, ok && err == nil
	}}, nil
}

func newsOfficial(ctx context.Context, b *begun, leader, observer *clientv3.Client, name string) (newsroom, error) {
	e, err := b.official(ctx, leader, name)
	if err != nil {
		return newsroom{}, err
	}
	if err := e.Campaign(ctx, ""); err != nil {
		return newsroom{}, err
	}
	o, err := b.official(ctx, observer, name) // an observer needs a session
	if err != nil {
		return newsroom{}, err
	}
	news := o.Observe(ctx)
	<-news // who leads
	return newsroom{e.Proclaim, func() (string, bool) {
		resp, ok := <-news
		if !ok {
			return "", false
		}
		return string(resp.Kvs[0].Value), true
	}}, nil
}

// newsRaw is the transaction that a proclamation is, and a watch.
func newsRaw(ctx context.Context, b *begun, leader, observer *clientv3.Client, name string) (newsroom, error) {
	put, err := leader.Put(ctx, name, "")
	if err != nil {
		return newsroom{}, err
	}
	b.atEnd(func(ctx context.Context) error {
		_, err := leader.Delete(ctx, name)
		return err
	})
	news := observer.Watch(ctx, name, clientv3.WithCreatedNotify())
	<-news // that it is there
	proclaim := func(ctx context.Context, value string) error {
		_, err := leader.Txn(ctx).
			If(clientv3.Compare(clientv3.CreateRevision(name), "=", put.Header.Revision)).
			Then(clientv3.OpPut(name, value)).
			Commit()
		return err
	}
	return newsroom{proclaim, func() (string, bool) {
		resp := <-news
		if len(resp.Events) == 0 {
			return "", false
		}
		return string(resp.Events[0].Kv.Value), true
	}}, nil
}
