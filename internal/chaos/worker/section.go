package worker

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/conclave-go/conclave/internal/chaos/history"
)

// validEvery is in how many samples one is reported, if nothing happens.
const validEvery = 10

// section is the work under one hold.
type section struct {
	*Worker

	hold  Hold
	id    string
	token int64
	told  bool // of the loss; this and until are to be read when watch was stopped
	// until is the deadline when the hold last said that it was valid: one that is over
	// does not tell it any more.
	until int64
}

// watch asks the hold now and then whether it is valid, and reports when it says no
// more that it is. What it returns ends that and reports the last time that it was.
func (s *section) watch() (stop func()) {
	end := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		t := time.NewTicker(s.Sample)
		defer t.Stop()
		last := int64(0)
		for i := 0; s.sample(&last); i++ {
			if i%validEvery == 1 {
				s.valid(last)
			}
			select {
			case <-t.C:
			case <-s.hold.Done():
			case <-end:
				if s.sample(&last) {
					s.valid(last)
					return
				}
			}
		}
		s.valid(last)
		s.told = true
		e := history.Event{At: s.Now(), Kind: history.Told, Hold: s.id, Detail: s.hold.Err().Error()}
		if s.until != 0 {
			e.Until = min(s.until, e.At)
		}
		s.report(e)
	})
	return func() {
		close(end)
		wg.Wait()
	}
}

// sample asks the hold whether it is valid, and notes when it was and until when.
func (s *section) sample(last *int64) bool {
	before, until := s.Now(), s.deadline(s.hold)
	if s.hold.Err() != nil {
		return false
	}
	*last, s.until = before, until
	return true
}

// valid reports the last time at which the hold was, if it ever was.
func (s *section) valid(last int64) {
	if last != 0 {
		s.report(history.Event{At: last, Kind: history.Valid, Hold: s.id, Until: s.until})
	}
}

// work is the critical section.
func (s *section) work(ctx context.Context) {
	founds := s.readAll(ctx)
	if enough, stays := s.Gate.at(ctx, Stay, s.reached(Stay)); stays {
		s.stay(ctx, enough)
	}
	rest(ctx, s.about(s.Hold))
	s.Gate.at(ctx, Before, s.reached(Before))
	valid := s.looks()
	s.Gate.at(ctx, Between, s.reached(Between))
	for _, way := range []history.Way{history.Unguarded, history.Deadline, history.Fenced} {
		if found, ok := founds[way]; ok && (way != history.Deadline || valid) {
			s.write(ctx, way, found)
		}
	}
	if found, ok := founds[history.Txn]; ok {
		s.put(ctx, history.Txn, s.Register, found)
	}
	if found, ok := founds[history.Plain]; ok {
		s.put(ctx, history.Plain, s.Plain, found)
	}
}

// looks is the holder's look at its hold before it writes.
func (s *section) looks() bool {
	left, timed := s.hold.Remaining()
	return s.hold.Err() == nil && (left > 0 || !timed)
}

func (s *section) reached(point string) func() {
	return func() { s.report(history.Event{Kind: history.Reached, Hold: s.id, Point: point}) }
}

// stay keeps the lock until it is lost or it has been enough.
func (s *section) stay(ctx context.Context, enough <-chan struct{}) {
	select {
	case <-enough:
	case <-s.hold.Done():
	case <-ctx.Done():
	}
}

// readAll reads all registers.
func (s *section) readAll(ctx context.Context) map[history.Way]int64 {
	founds := make(map[history.Way]int64)
	for _, way := range []history.Way{history.Unguarded, history.Deadline, history.Fenced} {
		if way == history.Fenced && s.token == 0 {
			continue
		}
		call := s.Now()
		r, err := s.Resource.Do(ctx, Request{Way: way, Hold: s.id, Token: s.token})
		if err != nil {
			continue
		}
		if r.OK {
			founds[way] = r.Value
		}
		if way == history.Fenced {
			s.report(history.Event{Kind: history.Read, Way: way, Hold: s.id, Call: call, Token: s.token, Value: r.Value, OK: r.OK})
		}
	}
	if s.Register != nil && s.token != 0 {
		s.get(ctx, history.Txn, s.Register, founds)
	}
	if s.Plain != nil {
		s.get(ctx, history.Plain, s.Plain, founds)
	}
	return founds
}

// get reads a register in etcd.
func (s *section) get(ctx context.Context, way history.Way, from Register, founds map[history.Way]int64) {
	ctx, cancel := context.WithTimeout(ctx, s.Patience)
	defer cancel()
	if v, err := from.Get(ctx); err == nil {
		founds[way] = v
	}
}

// write writes to the resource.
func (s *section) write(ctx context.Context, way history.Way, found int64) {
	e := history.Event{Kind: history.Wrote, Way: way, Hold: s.id, Call: s.Now(), Token: s.token, Value: found + 1, Found: found}
	r, err := s.Resource.Do(ctx, Request{Write: true, Way: way, Hold: s.id, Token: s.token, Value: found + 1, Found: found})
	if err != nil {
		return // the resource is gone: the end
	}
	e.OK = r.OK
	s.report(e)
}

// put writes to a register in etcd.
func (s *section) put(ctx context.Context, way history.Way, to Register, found int64) {
	ctx, cancel := context.WithTimeout(ctx, s.Patience)
	defer cancel()
	e := history.Event{Kind: history.Wrote, Way: way, Hold: s.id, Call: s.Now(), Token: s.token, Value: found + 1, Found: found}
	ok, err := to.Put(ctx, s.hold, s.id, found+1, found)
	e.OK = ok
	if err != nil {
		e.Detail = err.Error()
	}
	s.report(e)
}

// release gives the lock up, also one that was lost, as a deferred Unlock does.
func (s *section) release(ctx context.Context) {
	e := history.Event{Kind: history.Released, Hold: s.id}
	if !s.told {
		s.report(history.Event{Kind: history.Releasing, Hold: s.id, Until: s.until})
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.Patience)
	defer cancel()
	e.Call = s.Now()
	err := s.hold.Unlock(ctx)
	if e.OK = err == nil && !s.told; err != nil && !errors.Is(err, errOver) {
		e.Detail = err.Error()
	}
	s.report(e)
}
