package history

import (
	"bytes"
	"fmt"
	"time"

	"github.com/anishathalye/porcupine"
)

// searchTime bounds the search for an order. It takes milliseconds where there is one.
const searchTime = 20 * time.Second

// step is an operation on the lock, on the register in etcd beside it, or on the fenced
// register of the resource. It takes effect at one moment between its call and its
// return.
type step struct {
	kind         stepKind
	hold         string
	token        int64
	value, found int64
}

type stepKind int

const (
	acquired stepKind = iota // the lock was granted
	ended                    // a hold's entry went away: given up, expired, deleted
	wrote                    // a guarded transaction succeeded
	maybe                    // one failed: it was applied, will be, or never is
	fenced                   // a fenced write was accepted
	seen                     // a fenced read returned a value
	stale                    // a fenced read or write was refused
)

func (s step) String() string {
	what := map[stepKind]string{
		acquired: "lock", ended: "end", wrote: "writes", maybe: "perhaps writes",
		fenced: "fenced write of", seen: "fenced read of", stale: "refused",
	}[s.kind]
	switch s.kind {
	case acquired, ended, stale:
		return fmt.Sprintf("%s: %s %s", s.hold, what, Text(s.token))
	case wrote:
		return fmt.Sprintf("%s: %s %d over %d", s.hold, what, s.value, s.found)
	default:
		return fmt.Sprintf("%s: %s %d", s.hold, what, s.value)
	}
}

// state is that of the lock and its registers.
type state struct {
	holder   string
	highest  int64 // token ever granted
	register int64 // in etcd
	seen     int64 // token by the resource
	fenced   int64 // its register
}

func (s state) String() string {
	return fmt.Sprintf("held by %q, highest %s, register %d, fence %s with %d", s.holder, Text(s.highest), s.register, Text(s.seen), s.fenced)
}

// apply returns the state after an operation, and whether that is legal.
func (s state) apply(o step) (bool, state) {
	switch o.kind {
	case acquired:
		legal := s.holder == "" && (o.token == 0 || o.token > s.highest)
		s.holder, s.highest = o.hold, o.token
		return legal, s
	case ended:
		legal := s.holder == o.hold
		s.holder = ""
		return legal, s
	case wrote:
		legal := s.holder == o.hold && s.register == o.found
		s.register = o.value
		return legal, s
	case maybe:
		if s.holder == o.hold && s.register == o.found {
			s.register = o.value
		}
		return true, s
	case fenced:
		legal := o.token >= s.seen
		s.seen, s.fenced = o.token, o.value
		return legal, s
	case seen:
		legal := o.token >= s.seen && o.value == s.fenced
		s.seen = o.token
		return legal, s
	default:
		return o.token < s.seen, s
	}
}

// model is the sequential lock, for porcupine. The lock with its register and the
// resource know nothing of each other, so they are searched one by one.
func model() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return state{} },
		Step: func(s, input, _ any) (bool, any) { return as[state](s).apply(as[step](input)) },
		Partition: func(all []porcupine.Operation) [][]porcupine.Operation {
			parts := make([][]porcupine.Operation, 2)
			for _, o := range all {
				i := 0
				if as[step](o.Input).kind >= fenced {
					i = 1
				}
				parts[i] = append(parts[i], o)
			}
			return parts
		},
		DescribeOperation: func(input, _ any) string { return as[step](input).String() },
		DescribeState:     func(s any) string { return as[state](s).String() },
	}
}

func as[T any](v any) T {
	t, ok := v.(T)
	if !ok {
		panic(fmt.Sprintf("history: %T is not what was given to porcupine", v))
	}
	return t
}

// order looks for an order of all operations that a sequential lock allows.
func (r *Result) order(events []Event, holds []Hold) {
	operations := operations(events, holds)
	result, info := porcupine.CheckOperationsVerbose(model(), operations, searchTime)
	if result == porcupine.Ok {
		return
	}
	if result == porcupine.Unknown {
		r.Notes = append(r.Notes, fmt.Sprintf("no order of %d operations was found in %v", len(operations), searchTime))
		return
	}
	var page bytes.Buffer
	if err := porcupine.Visualize(model(), info, &page); err == nil {
		r.Order = page.String()
	}
	at := int64(0)
	if len(holds) > 0 {
		at = holds[0].Granted
	}
	r.found(Order, at, "no order of the %d operations is that of a lock with expiry", len(operations))
}

// operations makes porcupine's input of a history.
func operations(events []Event, holds []Hold) []porcupine.Operation {
	var all []porcupine.Operation
	clients := make(map[string]int)
	add := func(worker string, call, ret int64, s step) {
		id, ok := clients[worker]
		if !ok {
			id = len(clients)
			clients[worker] = id
		}
		all = append(all, porcupine.Operation{ClientId: id, Input: s, Call: call, Return: max(call, ret)})
	}
	byID := make(map[string]int64) // when each hold was over for certain
	for i, h := range holds {
		if h.Phantom {
			continue
		}
		add(h.Worker, h.Called, h.Granted, step{kind: acquired, hold: h.ID, token: h.Token})
		over := min(h.Released, superseded(holds[i+1:], h))
		add(h.Worker, h.End(), over, step{kind: ended, hold: h.ID, token: h.Token})
		byID[h.ID] = over
	}
	for _, e := range events {
		over, holds := byID[e.Hold]
		if s, ok := stepOf(e); ok && holds {
			ret := e.At
			if s.kind == maybe { // after the end of the hold it does nothing
				ret = over
			}
			add(e.Worker, e.Call, ret, s)
		}
	}
	for _, w := range untold(events, holds) {
		add(w.Worker, w.Call, w.At, step{kind: untoldKind(w), hold: w.Hold, token: w.Token, value: w.Value, found: w.Found})
	}
	return all
}

// untold returns the writes that holders made which died before they could report them, as
// those tell who saw them: they were made between the grant and then.
func untold(events []Event, holds []Hold) (all []Event) {
	granted, told := make(map[string]int64), make(map[string]bool)
	id := func(e Event) string { return fmt.Sprint(e.Hold, untoldKind(e), e.Value) }
	for _, h := range holds {
		if h.Died != Open && !h.Phantom {
			granted[h.ID] = h.Granted
		}
	}
	for _, e := range events {
		if e.Kind == Wrote && (e.Way == Txn || e.Way == Fenced) {
			told[id(e)] = true
		}
	}
	for _, e := range events {
		call, died := granted[e.Hold]
		seen := e.Kind == Stored && e.Way != Plain || e.Kind == Judged && e.Way == Fenced && e.OK
		if seen && died && !told[id(e)] {
			e.Call = call
			all = append(all, e)
		}
	}
	return all
}

func untoldKind(e Event) stepKind {
	if e.Way == Fenced {
		return fenced
	}
	return wrote
}

// superseded returns when one of the later holds was granted that shows that h was over.
func superseded(later []Hold, h Hold) int64 {
	for _, n := range later {
		if !n.Phantom && (n.Token == 0 || n.Token > h.Token) {
			return n.Granted
		}
	}
	return Open
}

// stepOf makes an operation of what a worker did to a register.
func stepOf(e Event) (step, bool) {
	s := step{hold: e.Hold, token: e.Token, value: e.Value, found: e.Found}
	written := e.Kind == Wrote
	switch {
	case !written && e.Kind != Read:
		return s, false
	case e.Way == Txn && written:
		s.kind = maybe
		if e.OK {
			s.kind = wrote
		}
	case e.Way != Fenced:
		return s, false
	case !e.OK:
		s.kind = stale
	case written:
		s.kind = fenced
	default:
		s.kind = seen
	}
	return s, true
}
