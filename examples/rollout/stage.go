package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"charm.land/lipgloss/v2"

	"github.com/conclave-go/conclave/examples/internal/cluster"
	"github.com/conclave-go/conclave/examples/internal/screen"
	"github.com/conclave-go/conclave/examples/internal/workers"
	"github.com/conclave-go/conclave/internal/netfault"
	"github.com/conclave-go/conclave/internal/process"
)

const (
	// patience is how long the stage waits for something; leases are short here.
	patience = 40 * time.Second
)

// stage is where readers run and writers come and go.
type stage struct {
	*workers.Merger[event]

	options options
	cluster *cluster.Cluster
	view    *screen.Acts
	readers map[string]*reader
	proxy   *netfault.Proxy // before etcd, of the reader that is to be cut off
	stop    context.CancelFunc
	reading sync.WaitGroup
	writers map[string]*process.Process
	at      map[int][]int64 // when readers switched to a version
	waiting bool            // for readers is to be told, because that takes long
	most    int             // the highest version written
}

func newStage(c *cluster.Cluster, o options, v *screen.Acts) *stage {
	return &stage{
		Merger: workers.NewMerger[event](), options: o, cluster: c, view: v, stop: func() {},
		readers: make(map[string]*reader), writers: make(map[string]*process.Process), at: make(map[int][]int64),
	}
}

// open starts the readers, and waits until all have joined.
func (s *stage) open(ctx context.Context) error {
	reading, stop := context.WithCancel(ctx)
	s.stop = stop
	for _, name := range readerNames() {
		spec := s.cluster.Spec()
		if name == cutOff {
			var err error
			if s.proxy, spec, err = s.cluster.Proxy(); err != nil {
				return err
			}
		}
		r := &reader{name: name, prefix: s.options.prefix, ttl: s.options.ttl, report: s.report}
		s.readers[name] = r
		s.reading.Go(func() {
			if err := r.run(reading, spec); reading.Err() == nil {
				s.report(event{Kind: ended, Worker: name, Detail: fmt.Sprintf("%s ended: %v", name, err)})
			}
		})
	}
	return s.finish(ctx, joined, readerNames()...)
}

func (s *stage) report(e event) {
	e.At = process.Now()
	s.Add(e)
}

// close ends everything.
func (s *stage) close() error {
	s.Stop() // nobody listens any more
	s.stop()
	if s.proxy != nil {
		s.proxy.Heal()
	}
	err := workers.Quit(slices.Collect(maps.Values(s.writers))...)
	s.reading.Wait()
	if s.proxy != nil {
		err = errors.Join(err, s.proxy.Close())
	}
	return err
}

// write starts a writer, which stays after a step if that is named.
func (s *stage) write(c change, stayAfter kind) (name string, err error) {
	name = fmt.Sprintf("w%d", len(s.writers)+1)
	j := job{name, s.options.prefix, c, stayAfter, s.options.ttl, s.cluster.Spec()}
	p, err := process.Start(name, workerRole, j, s.Add, func(detail string) {
		s.Add(event{At: process.Now(), Worker: name, Kind: ended, Detail: detail})
	})
	if err == nil {
		s.writers[name] = p
	}
	return name, err
}

// next waits for the next event and tells what it means.
func (s *stage) next(ctx context.Context) (event, error) {
	select {
	case <-ctx.Done():
		return event{}, context.Cause(ctx)
	case e := <-s.Out():
		if e.Kind == ended && e.Detail != "" {
			return e, errors.New(e.Detail)
		}
		s.tell(e)
		return e, nil
	}
}

// tell tells what an event means.
func (s *stage) tell(e event) {
	styles := s.view.Styles
	switch e.Kind {
	case queues:
		s.view.TellAt(e.when(), styles.Dim, "%s waits for the lock", e.Worker)
	case read:
		s.view.TellAt(e.when(), lipgloss.Style{}, "%s has the lock, token %s, and finds version %d", e.Worker, e.Token, e.Version)
	case written:
		s.most = e.Version
		s.view.TellAt(e.when(), styles.Title, "%s writes version %d: %s", e.Worker, e.Version, e.Detail)
	case waits:
		if s.waiting {
			s.view.TellAt(e.when(), styles.Dim, "%s waits for %s", e.Worker, e.Detail)
		}
	case applied:
		s.at[e.Version] = append(s.at[e.Version], e.At)
	case done:
		at := slices.Sorted(slices.Values(s.at[e.Version]))
		if len(at) == 0 {
			at = []int64{0} // nobody is alive
		}
		s.view.TellAt(e.when(), styles.Good, "all readers that are alive have version %d: %d switched within %s", e.Version,
			len(s.at[e.Version]), screen.Short(time.Duration(at[len(at)-1]-at[0])))
	case refused:
		s.view.TellAt(e.when(), styles.Good, "%s is refused: %s", e.Worker, e.Detail)
	case troubled:
		s.view.TellAt(e.when(), styles.Dim, "%s: %s", e.Worker, e.Detail)
	case joined, validated, ended:
	}
}

// await waits for an event that meets a condition.
func (s *stage) await(ctx context.Context, what string, cond func(event) bool) (event, error) {
	return workers.Await(ctx, s.next, patience, what, cond)
}

// summary says what was seen.
func (s *stage) summary() string {
	var seen int
	for _, at := range s.at {
		seen += len(at)
	}
	return fmt.Sprintf("%d versions by %d writers, applied %d times: never a mixture", s.most, len(s.writers), seen)
}

// update has a writer make a change, to its end.
func (s *stage) update(ctx context.Context, c change, end kind) error {
	name, err := s.write(c, "")
	if err != nil {
		return err
	}
	return s.finish(ctx, end, name)
}

// finish waits until each writer or reader has come to an end.
func (s *stage) finish(ctx context.Context, end kind, names ...string) error {
	for len(names) > 0 {
		e, err := s.await(ctx, fmt.Sprintf("what makes %v %s", names, end), func(e event) bool {
			return e.Kind == end && slices.Contains(names, e.Worker)
		})
		if err != nil {
			return err
		}
		names = slices.DeleteFunc(names, func(n string) bool { return n == e.Worker })
	}
	return nil
}
