package lock_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/lock"
)

// The sequential model of all kinds is one of capacity: holders who come and end by
// themselves, each with a weight, altogether never more than the capacity; and a
// register, which is written by those who have all of it and read by any.

// member is a holder in the model's state.
type member struct {
	token  lock.Token
	weight int
}

// sharedState is the state of one lock and its register.
type sharedState struct {
	holders  []member // by token
	register int64
}

func (s sharedState) String() string { return fmt.Sprintf("%v, register %d", s.holders, s.register) }

func (s sharedState) equal(o sharedState) bool {
	return s.register == o.register && slices.Equal(s.holders, o.holders)
}

func (s sharedState) sum() (sum int) {
	for _, m := range s.holders {
		sum += m.weight
	}
	return sum
}

func (s sharedState) find(token lock.Token) (int, bool) {
	return slices.BinarySearchFunc(s.holders, token, func(m member, t lock.Token) int { return cmp.Compare(m.token, t) })
}

// sharedOperation is an operation on a lock of some capacity.
type sharedOperation struct {
	operation

	weight, capacity int
}

// These follow the operations of exclusive locks.
const (
	opShrink      = opEnd + 1 + iota // a writer became a reader
	opMaybeShrink                    // it did, will, or never does
)

func (o sharedOperation) String() string {
	if o.kind == opShrink {
		return fmt.Sprintf("%v downgraded", o.token)
	}
	if o.kind == opMaybeShrink {
		return fmt.Sprintf("%v perhaps downgraded", o.token)
	}
	return fmt.Sprintf("%v (%d of %d)", o.operation, o.weight, o.capacity)
}

// step returns the state after o, and whether o is legal.
func (s sharedState) step(o sharedOperation) (bool, sharedState) {
	i, holds := s.find(o.token)
	switch o.kind {
	case opLock:
		legal := !holds && s.sum()+o.weight <= o.capacity
		s.holders = slices.Insert(slices.Clone(s.holders), i, member{o.token, o.weight})
		return legal, s
	case opWrite:
		legal := holds && s.holders[i].weight == o.capacity && s.register == o.found
		s.register = o.value
		return legal, s
	case opMaybe:
		if holds && s.holders[i].weight == o.capacity {
			s.register = o.value
		}
		return true, s
	case opRead:
		return holds && s.register == o.value, s
	case opShrink, opMaybeShrink:
		if holds {
			s.holders = slices.Clone(s.holders)
			s.holders[i].weight = 1
		}
		return holds || o.kind == opMaybeShrink, s
	default:
		if holds {
			s.holders = slices.Delete(slices.Clone(s.holders), i, i+1)
		}
		return holds, s
	}
}

// sharedModel is the model for porcupine, which checks each lock by itself.
func sharedModel() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return sharedState{} },
		Step: func(state, input, _ any) (bool, any) {
			return as[sharedState](state).step(as[sharedOperation](input))
		},
		Equal: func(a, b any) bool { return as[sharedState](a).equal(as[sharedState](b)) },
		Partition: func(all []porcupine.Operation) [][]porcupine.Operation {
			byName := make(map[string][]porcupine.Operation)
			for _, o := range all {
				name := as[sharedOperation](o.Input).name
				byName[name] = append(byName[name], o)
			}
			var parts [][]porcupine.Operation
			for _, part := range byName {
				parts = append(parts, part)
			}
			return parts
		},
		DescribeOperation: func(input, _ any) string { return as[sharedOperation](input).String() },
		DescribeState:     func(state any) string { return as[sharedState](state).String() },
	}
}

// share is one hold of some weight.
type share struct {
	tenure

	weight, capacity int
	// changed is set if the end of it is only that of its weight: it was downgraded.
	changed bool
}

// sharedHistory is what happened to locks of any kind.
type sharedHistory struct {
	*history

	shares []share
	// gone is when the entry of a token in a name was seen to be gone.
	gone map[string]int64
}

func goneKey(name string, token lock.Token) string { return name + " " + token.String() }

func (h *sharedHistory) addShare(d share) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.shares = append(h.shares, d)
}

func (h *sharedHistory) addShared(worker int, call, ret int64, o sharedOperation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.operations = append(h.operations, porcupine.Operation{ClientId: worker, Input: o, Call: call, Return: ret})
}

// spared returns until when no operator interfered with the share.
func (h *sharedHistory) spared(d share) int64 {
	spared := int64(open)
	for _, x := range h.tampered {
		same := x.token == d.token && strings.HasPrefix(x.key, d.name+"/~")
		if x.key == "" && x.hits(d.tenure) || same {
			spared = min(spared, x.from)
		}
	}
	return spared
}

// complete returns all operations: what was recorded, and the end of each share.
func (h *sharedHistory) complete() []porcupine.Operation {
	all := slices.Clone(h.operations)
	for _, d := range h.shares {
		if d.changed {
			continue
		}
		from, to := min(d.until, h.spared(d)), d.unlocked
		if seen, ok := h.gone[goneKey(d.name, d.token)]; ok {
			to = min(to, max(from, seen))
		}
		all = append(all, porcupine.Operation{
			ClientId: d.worker, Call: from, Return: max(from, to),
			Input: sharedOperation{operation{kind: opEnd, name: d.name, token: d.token}, d.weight, d.capacity},
		})
	}
	for i := range all { // what these do after the end of the holder is nothing
		o := as[sharedOperation](all[i].Input)
		if seen, ok := h.gone[goneKey(o.name, o.token)]; ok && (o.kind == opMaybe || o.kind == opMaybeShrink) {
			all[i].Return = min(all[i].Return, max(all[i].Call, seen))
		}
	}
	return all
}

// overlaps returns how S3 was broken: more than the capacity held at once by holders
// before their deadlines.
func (h *sharedHistory) overlaps() (found []string) {
	type change struct {
		at    int64
		by    int
		token lock.Token
	}
	byName, capacities := map[string][]change{}, map[string]int{}
	for _, d := range h.shares {
		if d.valid > d.until {
			found = append(found, fmt.Sprintf("%s: %v was valid %v after its deadline", d.name, d.token, time.Duration(d.valid-d.until)))
		}
		if until := min(d.until, h.spared(d)); until > d.granted {
			byName[d.name] = append(byName[d.name], change{d.granted, d.weight, d.token}, change{until, -d.weight, d.token})
			capacities[d.name] = d.capacity
		}
	}
	for name, changes := range byName {
		slices.SortFunc(changes, func(a, b change) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.by, b.by)) })
		sum := 0
		for _, c := range changes {
			if sum += c.by; c.by > 0 && sum > capacities[name] {
				found = append(found, fmt.Sprintf("%s: %v was granted, which made %d of %d", name, c.token, sum, capacities[name]))
			}
		}
	}
	return found
}

// check requires that the history is one of the model's and that S3 was kept.
func (h *sharedHistory) check(t *testing.T) {
	t.Helper()
	began := time.Now()
	all := h.complete()
	for _, o := range h.overlaps() {
		t.Error("S3:", o)
	}
	result, info := porcupine.CheckOperationsVerbose(sharedModel(), all, checkTime)
	t.Logf("%d operations, checked in %v: %v %v", len(all), time.Since(began).Round(time.Microsecond), result, h.counts)
	if result != porcupine.Ok {
		path := t.ArtifactDir() + "/history.html"
		require.NoError(t, porcupine.VisualizePath(sharedModel(), info, path))
		t.Errorf("the history is not that of such locks: %v; see %s (with -artifacts)", result, path)
	}
}

// The checker itself, on histories made by hand.
func TestSharedHistoryCheckTellsLegalFromIllegal(t *testing.T) {
	t.Parallel()
	const a, b, c = lock.Token(1), lock.Token(2), lock.Token(3)
	hold := func(token lock.Token, weight int, granted, until, unlocked int64) func(*sharedHistory) {
		return func(h *sharedHistory) {
			h.addShared(int(token), granted-1, granted, sharedOperation{operation{kind: opLock, token: token}, weight, 3})
			h.addShare(share{tenure{worker: int(token), key: fmt.Sprintf("k/%x", int64(token)), token: token, granted: granted, until: until, unlocked: unlocked}, weight, 3, false})
		}
	}
	op := func(call, ret int64, kind operationKind, token lock.Token, value int64) func(*sharedHistory) {
		return func(h *sharedHistory) {
			h.addShared(9, call, ret, sharedOperation{operation{kind: kind, token: token, value: value}, 1, 3})
		}
	}
	revoked := func(from int64, token lock.Token) func(*sharedHistory) {
		return func(h *sharedHistory) { h.addTampering(tampering{from: from, key: "/~k", token: token}) }
	}
	for what, k := range map[string]struct {
		legal    bool
		overlaps int
		events   []func(*sharedHistory)
	}{
		"three share":                       {true, 0, []func(*sharedHistory){hold(a, 1, 10, 20, 25), hold(b, 1, 11, 30, 35), hold(c, 1, 12, 30, 35)}},
		"a writer among readers":            {false, 1, []func(*sharedHistory){hold(a, 1, 10, 20, 25), hold(b, 3, 15, 30, 35)}},
		"a reader beside a writer":          {false, 1, []func(*sharedHistory){hold(a, 3, 10, 20, 25), hold(b, 1, 15, 30, 35)}},
		"too many permits":                  {false, 1, []func(*sharedHistory){hold(a, 2, 10, 20, 25), hold(b, 2, 15, 30, 35)}},
		"too many before an expiry":         {false, 1, []func(*sharedHistory){hold(a, 2, 10, 20, open), hold(b, 2, 15, 30, 35)}},
		"after an expiry":                   {true, 0, []func(*sharedHistory){hold(a, 2, 10, 20, open), hold(b, 2, 25, 30, 35)}},
		"after an operator's deed":          {true, 0, []func(*sharedHistory){hold(a, 2, 10, 20, open), revoked(12, a), hold(b, 2, 15, 30, 35)}},
		"after a deed to another":           {false, 1, []func(*sharedHistory){hold(a, 2, 10, 20, open), revoked(12, c), hold(b, 2, 15, 30, 35)}},
		"a reader after a downgrade":        {true, 1, []func(*sharedHistory){hold(a, 3, 10, 20, 25), op(12, 13, opShrink, a, 0), hold(b, 1, 15, 30, 35)}},
		"a writer after a downgrade":        {false, 1, []func(*sharedHistory){hold(a, 3, 10, 20, 25), op(12, 13, opShrink, a, 0), hold(b, 3, 15, 30, 35)}},
		"a writer writes":                   {true, 0, []func(*sharedHistory){hold(a, 3, 10, 20, 25), op(12, 13, opWrite, a, 7), op(14, 15, opRead, a, 7)}},
		"a reader writes":                   {false, 0, []func(*sharedHistory){hold(a, 1, 10, 20, 25), op(12, 13, opWrite, a, 7)}},
		"a writer writes after a downgrade": {false, 0, []func(*sharedHistory){hold(a, 3, 10, 20, 25), op(12, 13, opShrink, a, 0), op(14, 15, opWrite, a, 7)}},
		"a reader reads what was not written": {false, 0, []func(*sharedHistory){
			hold(a, 1, 10, 20, 25), op(12, 13, opRead, a, 7),
		}},
		"a write comes late, after a downgrade": {false, 0, []func(*sharedHistory){
			hold(a, 3, 10, 20, 25), op(11, open, opMaybe, a, 7), op(12, 13, opShrink, a, 0), op(14, 15, opRead, a, 0), op(16, 17, opRead, a, 7),
		}},
	} {
		h := &sharedHistory{history: newHistory()}
		for _, event := range k.events {
			event(h)
		}
		require.Len(t, h.overlaps(), k.overlaps, what)
		want := porcupine.Illegal
		if k.legal {
			want = porcupine.Ok
		}
		require.Equal(t, want, porcupine.CheckOperationsTimeout(sharedModel(), h.complete(), checkTime), what)
	}
}
