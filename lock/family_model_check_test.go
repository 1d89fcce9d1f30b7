package lock_test

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"testing/synctest"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/lock"
)

// standings are the entries of all queues, as their events tell, and which of them have
// ever owned.
type standings struct {
	kind    modelKind
	weights map[string]map[string]int // of acquisitions by ID and queue
	stand   map[string][]standing     // by queue
	owned   map[string]map[int64]bool // create revisions by queue
}

type standing struct {
	key     string
	created int64
	weight  int
}

func newStandings(kind modelKind) standings {
	s := standings{kind, map[string]map[string]int{}, map[string][]standing{}, map[string]map[int64]bool{}}
	for _, name := range kind.names {
		s.owned[name] = map[int64]bool{}
	}
	return s
}

// queueOf returns the queue that a key is in.
func (s *standings) queueOf(key string) string {
	name, _, _ := strings.Cut(key, "/~")
	return name
}

// apply follows an event.
func (s *standings) apply(ev *clientv3.Event) {
	queue, key := s.queueOf(string(ev.Kv.Key)), string(ev.Kv.Key)
	is := func(e standing) bool { return e.key == key }
	switch {
	case ev.IsCreate():
		s.stand[queue] = append(s.stand[queue], standing{key, ev.Kv.CreateRevision, s.weights[ownerOf(ev.Kv)][queue]})
	case ev.Type == clientv3.EventTypeDelete:
		s.stand[queue] = slices.DeleteFunc(s.stand[queue], is)
	case s.kind.name == "RWMutex": // put again: a reader from now on
		s.stand[queue][slices.IndexFunc(s.stand[queue], is)].weight = 1
	}
	sum := 0
	for _, e := range s.stand[queue] {
		if sum += e.weight; sum <= s.kind.capacity {
			s.owned[queue][e.created] = true
		}
	}
}

// ownerOf returns what an entry calls its owner.
func ownerOf(kv *mvccpb.KeyValue) string {
	var record struct{ Owner string }
	if err := json.Unmarshal(kv.Value, &record); err != nil {
		return ""
	}
	return record.Owner
}

// replay follows the events of the queues' keys.
func (w *familyWorld) replay() {
	for ; len(w.history) > 0; synctest.Wait() { // it holds one batch at a time
		for _, ev := range (<-w.history).Events {
			w.past.apply(ev)
		}
	}
}

// place is where an acquisition stands.
type place struct {
	queues int // in how many
	owns   bool
	token  lock.Token
}

// places returns where everybody stands, by ID, and checks what Inspect says about it.
// mu must be held.
func (w *familyWorld) places(queues map[string][]lock.Entry) map[string]place {
	all := map[string]place{}
	for name, entries := range queues {
		sum := 0
		byAge := slices.SortedFunc(slices.Values(entries), func(a, b lock.Entry) int { return cmp.Compare(a.Token, b.Token) })
		for _, e := range byAge {
			sum += w.weight(e.Owner, name)
			owns := sum <= w.kind.capacity
			if e.Held() != owns {
				w.fail("%s: Inspect says held: %v at position %d in %s, the model %v", e.Owner, e.Held(), e.Position, name, owns)
			}
			p, found := all[e.Owner]
			if found && p.token != e.Token {
				w.fail("%s: has entries %v and %v", e.Owner, p.token, e.Token)
			}
			all[e.Owner] = place{p.queues + 1, owns && (p.owns || !found), e.Token}
		}
	}
	return all
}

// weight returns what an acquisition weighs in a queue. mu must be held.
func (w *familyWorld) weight(id, queue string) int {
	for _, x := range w.all {
		if x.id == id {
			return w.asks[x].weights[queue]
		}
	}
	return 0
}

// end compares how things are after a step with the model.
func (w *familyWorld) end() {
	w.inStep.Wait()
	w.replay()
	queues := w.queues()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.judgeRefusals()
	places := w.places(queues)
	for _, x := range w.all {
		p, found := places[x.id]
		delete(places, x.id)
		switch {
		case x.over && found:
			w.fail("%s: there is an entry of an acquisition that is over", x.id)
		case x.over:
		case found:
			w.stands(x, p)
			x.overrule = false
		default:
			w.notInQueue(x)
			x.overrule = false
		}
	}
	for id := range places {
		w.fail("%q: there is an entry that nobody knows", id)
	}
	for _, c := range w.clients {
		if c.closed {
			w.mu.Unlock()
			w.newSession(c)
			w.mu.Lock()
		}
	}
}

// stands checks an acquisition whose entries are there. mu must be held.
func (w *familyWorld) stands(x *acquisition, p place) {
	held := x.hold != nil && x.hold.Err() == nil
	switch {
	case p.queues != len(w.asks[x].weights):
		w.fail("%s: stands in %d of %d queues", x.id, p.queues, len(w.asks[x].weights))
	case x.leaving, x.err != nil:
		w.fail("%s: left its entry behind (error: %v)", x.id, x.err)
	case p.owns && !held:
		w.fail("%s: the lock is its, but it has not been granted (returned: %v)", x.id, x.done)
	case !p.owns && x.done:
		w.fail("%s: granted although others are before it", x.id)
	case held && x.hold.Token() != p.token:
		w.fail("%s: has token %v, its entry %v", x.id, x.hold.Token(), p.token)
	case x.token != 0 && x.token != p.token && !w.disturbed(x):
		w.fail("%s: lost its place: entry %v is now %v", x.id, x.token, p.token)
	}
	for queue := range w.asks[x].weights {
		if held && !w.past.owned[queue][p.token.Revision()] {
			w.fail("%s: granted entry %v, which has never owned %s", x.id, p.token, queue)
		}
	}
	x.token = p.token
}
