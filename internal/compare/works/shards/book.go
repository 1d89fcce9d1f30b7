package shards

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// stint is a time for which a member served a shard; to is zero while it does.
type stint struct {
	member   string
	from, to time.Time
}

// book has all stints of a group, by shard.
type book struct {
	mu      sync.Mutex
	shards  [][]*stint
	serving int       // stints that are going on
	last    time.Time // when one began or ended
	// foreign are members that are not counted among those who serve: cut off, they cannot
	// be told.
	foreign map[string]bool
}

func newBook(n int) *book { return &book{shards: make([][]*stint, n), foreign: map[string]bool{}} }

// begin notes that a member serves a shard, until end is called.
func (b *book) begin(shard int, member string) (end func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := &stint{member: member, from: time.Now()}
	b.shards[shard] = append(b.shards[shard], s)
	b.note(member, 1)
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		s.to = time.Now()
		b.note(member, -1)
	}
}

// note counts who serves. mu must be held.
func (b *book) note(member string, by int) {
	if !b.foreign[member] {
		b.serving += by
		b.last = time.Now()
	}
}

// disown does not count a member any more.
func (b *book) disown(member string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, all := range b.shards {
		for _, s := range all {
			if s.member == member && s.to.IsZero() {
				b.serving--
			}
		}
	}
	b.foreign[member] = true
}

const (
	// quiet is for how long nothing changes once all is in its place. It is above the
	// retry period of client-go.
	quiet = time.Second
	// look is how often is asked whether that is so.
	look = 10 * time.Millisecond
)

// settle waits until each shard is served once and nothing has changed for a while, since it
// is called at least, and returns since when.
func (b *book) settle(ctx context.Context) (time.Time, error) {
	called := time.Now()
	for {
		b.mu.Lock()
		serving, last := b.serving, b.last
		b.mu.Unlock()
		if serving == len(b.shards) && time.Since(last) > quiet && time.Since(called) > quiet {
			return last, nil
		}
		select {
		case <-time.After(look):
		case <-ctx.Done():
			return last, fmt.Errorf("%d of %d shards are served: %w", serving, len(b.shards), context.Cause(ctx))
		}
	}
}

// owners returns who serves each shard, of those that are counted.
func (b *book) owners() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := make([]string, len(b.shards))
	for id, stints := range b.shards {
		for _, s := range stints {
			if s.to.IsZero() && !b.foreign[s.member] {
				all[id] = s.member
			}
		}
	}
	return all
}

// move is what became of a shard since some time.
type move struct {
	// gap is for how long nobody served it between two who did; below zero, for how long
	// both did.
	gap time.Duration
	// begun is when the last began.
	begun time.Time
}

// since returns the moves of shards that were with another member before.
func (b *book) since(began time.Time, before []string) (all []move) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for id, stints := range b.shards {
		m, moved := move{}, false
		for i := 1; i < len(stints); i++ {
			old, now := stints[i-1], stints[i]
			if now.from.Before(began) {
				continue
			}
			over := old.to
			if over.IsZero() {
				over = time.Now()
			}
			m.gap += now.from.Sub(over)
			m.begun = now.from
			moved = moved || now.member != before[id]
		}
		if moved {
			all = append(all, m)
		}
	}
	return all
}
