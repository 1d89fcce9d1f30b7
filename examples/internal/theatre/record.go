package theatre

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/netfault"
	"github.com/conclave-go/conclave/internal/process"
	"github.com/conclave-go/conclave/internal/timeline"
	"github.com/conclave-go/conclave/lock"
)

// Office is the time for which a copy was active, by what it has logged.
type Office struct {
	Copy, Address string
	Token         lock.Token
	// Since is when it was first named, and Until when it ended: at the latest deadline
	// that was named, or when the copy stopped if that was before.
	Since, Until time.Time
	// Asked is since when the copy had waited for it, and Stopped when it stopped; zero if
	// it did not say.
	Asked, Stopped time.Time
	// Lost is why it stopped, unless it gave the office up.
	Lost string

	deadline time.Time // zero if the copy does not know it
	gone     time.Time // when the process ended while active
	rival    bool
}

// Check fails if two were active at the same time, or a token did not rise.
func Check(offices ...Office) error {
	slices.SortFunc(offices, func(a, b Office) int { return a.Since.Compare(b.Since) })
	for i := 1; i < len(offices); i++ {
		if a, b := offices[i-1], offices[i]; b.Since.Before(a.Until) || b.Token <= a.Token {
			return fmt.Errorf("%s was active until %s, token %s, and %s from %s, token %s", a.Copy, a.Until, a.Token, b.Copy, b.Since, b.Token)
		}
	}
	return nil
}

// Copy is a copy of a program, as a process to which things are done.
type Copy struct {
	*process.Process

	name   string
	record *record
	proxy  *netfault.Proxy // nil if nothing can cut it off
	rival  bool

	address string    // that it has logged
	asked   time.Time // since when it waits; zero if it does not
	office  *Office   // the latest; nil if there was none
	had     int       // how often it was active
	state   string    // what is done to it, "" if nothing is
}

// Kill ends the process at once.
func (c *Copy) Kill() error { return c.do("KILLED", "killed", c.Process.Kill) }

// Terminate tells the process to end, with SIGTERM.
func (c *Copy) Terminate() error { return c.do("", "told to end", c.Process.Terminate) }

// Pause stops the process.
func (c *Copy) Pause(ctx context.Context) error {
	return c.do("STOPPED", "stopped", func() error { return c.Process.Pause(ctx) })
}

// Resume lets it go on.
func (c *Copy) Resume() error { return c.do("", "", c.Process.Resume) }

// Cut cuts the copy off from etcd.
func (c *Copy) Cut() error {
	return c.do("CUT OFF", "cut off", func() error { c.proxy.Blackhole(); return nil })
}

// Heal ends that.
func (c *Copy) Heal() error { return c.do("", "", func() error { c.proxy.Heal(); return nil }) }

// do does something to a copy that is in that state from then on.
func (c *Copy) do(state, label string, what func() error) error {
	c.record.disturb(c, state, label)
	return what()
}

// event is what was done to a copy or happened to it. It may last.
type event struct {
	who, label string
	class      timeline.MarkClass
	at, to     time.Time
	lasts      bool
}

// record is what the copies have logged, and what was done to them. Its methods may be
// called by several goroutines.
type record struct {
	offices bool // there are some
	ordered bool // on the board, by the queue

	mu      sync.Mutex
	began   time.Time // the act
	cast    []*Copy
	unheard []Line
	heard   map[string]Line    // the last, by copy and message
	all     []*Office          // in the order in which they were heard of
	known   map[string]*Office // by copy and token
	newest  *Office            // with the highest token
	events  []*event
	places  map[string]int64  // in the queue, by key
	owners  map[string]string // of keys
}

func newRecord(offices bool) *record {
	return &record{
		offices: offices, heard: make(map[string]Line), known: make(map[string]*Office), newest: &Office{},
		places: make(map[string]int64), owners: make(map[string]string),
	}
}

// enter adds a copy, or lets one begin anew.
func (r *record) enter(name string, rival bool) *Copy {
	c := r.find(name)
	r.mu.Lock()
	defer r.mu.Unlock()
	if c == nil {
		c = &Copy{name: name, record: r}
		r.cast = append(r.cast, c)
	}
	c.rival, c.state, c.office, c.asked = rival, "", nil, time.Time{}
	delete(r.heard, name+" "+Ended)
	return c
}

// seat says which process a copy is.
func (r *record) seat(c *Copy, p *process.Process) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c.Process = p
}

// leave forgets the copies.
func (r *record) leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cast, r.newest = nil, &Office{}
}

func (r *record) processes() (all []*process.Process) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.cast {
		if c.Process != nil {
			all = append(all, c.Process)
		}
	}
	return all
}

// find returns the copy of a name, nil if there is none.
func (r *record) find(name string) *Copy {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.named(name)
}

// named is find; mu must be held.
func (r *record) named(name string) *Copy {
	if i := slices.IndexFunc(r.cast, func(c *Copy) bool { return c.name == name }); i >= 0 {
		return r.cast[i]
	}
	return nil
}

// disturb notes what is done to a copy: state and label are empty when it is over.
func (r *record) disturb(c *Copy, state, label string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c.state = state
	for _, e := range r.events {
		if e.who == c.name && e.lasts && e.to.IsZero() {
			e.to = time.Now()
		}
	}
	if label != "" {
		lasts := state == "STOPPED" || state == "CUT OFF"
		r.events = append(r.events, &event{who: c.name, label: label, class: timeline.Fault, at: time.Now(), lasts: lasts})
	}
}

// mark notes what happened to a copy.
func (r *record) mark(name string, class timeline.MarkClass, label string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, &event{who: name, label: label, class: class, at: time.Now()})
}

// add takes note of what a copy logs.
func (r *record) add(l Line) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unheard = append(r.unheard, l)
	r.heard[l.Copy+" "+l.Msg] = l
	if c := r.named(l.Copy); c != nil && r.offices {
		r.note(c, l)
	}
}

// note takes note of what a line says of an office. mu must be held.
func (r *record) note(c *Copy, l Line) {
	var now struct {
		Until              time.Time
		Address, Key, Lost string
		Token              lock.Token
	}
	switch {
	case l.Msg == Ended:
		if c.office != nil && c.office.Stopped.IsZero() {
			c.office.gone = l.Time
		}
		if l.Detail != "" {
			r.events = append(r.events, &event{who: c.name, label: "gives up", class: timeline.Bad, at: l.Time})
		}
		return
	case l.Read(&now) != nil:
		return
	case now.Key != "":
		r.owners[now.Key] = c.name
	case now.Address != "":
		c.address = now.Address
	}
	if l.Msg == "waiting" && c.asked.IsZero() {
		c.asked = l.Time
	}
	if now.Token == 0 {
		return
	}
	key := c.name + " " + now.Token.String()
	o, known := r.known[key]
	switch {
	case !known && (c.rival || !now.Until.IsZero()):
		o = &Office{Copy: c.name, Address: c.address, Token: now.Token, Since: l.Time, Asked: c.asked, rival: c.rival}
		c.office, c.asked = o, time.Time{}
		c.had++
		r.known[key], r.all = o, append(r.all, o)
		if o.Token > r.newest.Token {
			r.newest = o
		}
	case !known:
		return
	case l.Msg != "stopped" && !now.Until.IsZero():
		o.Stopped = time.Time{} // it goes on, also if it was about to end
	case l.Msg == "stopped" && o.Stopped.IsZero():
		o.Stopped, o.Lost = l.Time, now.Lost
	}
	if now.Until.After(o.deadline) {
		o.deadline = now.Until
	}
	o.Until = o.deadline
	if !o.Stopped.IsZero() && (o.Stopped.Before(o.Until) || o.rival) {
		o.Until = o.Stopped
	}
}

// take returns the lines that it has not returned before.
func (r *record) take() []Line {
	r.mu.Lock()
	defer r.mu.Unlock()
	lines := r.unheard
	r.unheard = nil
	return lines
}

func (r *record) last(name, message string) Line {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.heard[name+" "+message]
}

// latest returns the office with the highest token, as it is now.
func (r *record) latest() Office {
	r.mu.Lock()
	defer r.mu.Unlock()
	return *r.newest
}

// office returns what an office has become.
func (r *record) office(o Office) Office {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now, ok := r.known[o.Copy+" "+o.Token.String()]; ok {
		return *now
	}
	return o
}

// begin notes when the act began.
func (r *record) begin(t time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.began = t
}

// since returns the offices that began after a time, by their tokens; with the zero time,
// in the act.
func (r *record) since(t time.Time) (found []Office) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t.IsZero() {
		t = r.began
	}
	for _, o := range r.all {
		if o.Since.After(t) {
			found = append(found, *o)
		}
	}
	slices.SortFunc(found, func(a, b Office) int { return cmp.Compare(a.Token, b.Token) })
	return found
}

// judged returns the offices that [Check] is about.
func (r *record) judged() []Office {
	return slices.DeleteFunc(r.since(time.Unix(0, 0)), func(o Office) bool { return o.rival })
}

// follow keeps up with a queue in etcd, until ctx ends or the client is closed.
func (r *record) follow(ctx context.Context, client *clientv3.Client, prefix string) {
	for resp := range client.Watch(ctx, prefix, clientv3.WithPrefix()) {
		r.mu.Lock()
		for _, e := range resp.Events {
			key, value := string(e.Kv.Key), struct{ Owner string }{}
			switch {
			case e.Type == clientv3.EventTypeDelete:
				delete(r.places, key)
			case e.IsCreate():
				r.places[key] = e.Kv.CreateRevision
				if json.Unmarshal(e.Kv.Value, &value) == nil && value.Owner != "" {
					r.owners[key] = value.Owner
					r.waits(value.Owner)
				}
			}
		}
		r.mu.Unlock()
	}
}

// waits notes that a copy has come into the queue, if it does not say so itself. mu must be
// held.
func (r *record) waits(name string) {
	if c := r.named(name); c != nil && c.asked.IsZero() && (c.office == nil || !c.office.Stopped.IsZero()) {
		c.asked = time.Now()
	}
}

// queue returns who is in the queue, the first first. mu must be held.
func (r *record) queue() (names []string) {
	for _, key := range slices.SortedFunc(maps.Keys(r.places), func(a, b string) int { return cmp.Compare(r.places[a], r.places[b]) }) {
		if owner := r.owners[key]; owner != "" {
			names = append(names, owner)
		}
	}
	return names
}
