package lock_test

import (
	"cmp"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/lock"
)

// The sequential model is a lock that ends by itself, and a register beside it that
// is written by guarded transactions. An operation takes effect at one moment
// between its call and its return; porcupine looks for an order of those moments in
// which every step is legal.

// lockState is the state of one lock and its register.
type lockState struct {
	holder   lock.Token // 0 while it is free
	highest  lock.Token // ever granted
	register int64      // the number of the last write
}

func (s lockState) String() string {
	if s.holder == 0 {
		return fmt.Sprintf("free after %v, register %d", s.highest, s.register)
	}
	return fmt.Sprintf("held by %v, register %d", s.holder, s.register)
}

type operationKind int

const (
	opLock  operationKind = iota // Lock or TryLock returned a hold
	opBusy                       // TryLock returned a LockedError
	opWrite                      // a guarded write succeeded
	opMaybe                      // a guarded write failed: it was applied, will be, or never is
	opRead                       // the register was read
	opEnd                        // a hold's entry went away: unlocked, expired, deleted
)

// operation is the input of a step, with what it returned.
type operation struct {
	kind  operationKind
	name  string
	token lock.Token
	value int64 // written, or read
	found int64 // the value which a write replaced
}

func (o operation) String() string {
	switch o.kind {
	case opLock:
		return fmt.Sprintf("lock: %v", o.token)
	case opBusy:
		return fmt.Sprintf("busy: %v", o.token)
	case opWrite:
		return fmt.Sprintf("%v writes %d over %d", o.token, o.value, o.found)
	case opMaybe:
		return fmt.Sprintf("%v perhaps writes %d", o.token, o.value)
	case opRead:
		return fmt.Sprintf("read: %d", o.value)
	default:
		return fmt.Sprintf("end of %v", o.token)
	}
}

// step returns the state after o, and whether o is legal.
func (s lockState) step(o operation) (bool, lockState) {
	switch o.kind {
	case opLock:
		return s.holder == 0 && o.token > s.highest, lockState{holder: o.token, highest: o.token, register: s.register}
	case opBusy:
		// The head of the queue may be an entry whose Lock has yet to return, or
		// has failed; but nobody after it can have been granted.
		return s.holder == o.token || s.holder == 0 && o.token > s.highest, s
	case opWrite:
		legal := s.holder == o.token && s.register == o.found
		s.register = o.value
		return legal, s
	case opMaybe:
		if s.holder == o.token {
			s.register = o.value
		}
		return true, s
	case opRead:
		return s.register == o.value, s
	default:
		legal := s.holder == o.token
		s.holder = 0
		return legal, s
	}
}

// as returns what porcupine has kept.
func as[T any](v any) T {
	t, ok := v.(T)
	if !ok {
		panic(fmt.Sprintf("%T is not what was recorded", v))
	}
	return t
}

// lockModel is the model for porcupine, which checks each lock by itself.
func lockModel() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return lockState{} },
		Step: func(state, input, _ any) (bool, any) { return as[lockState](state).step(as[operation](input)) },
		Partition: func(all []porcupine.Operation) [][]porcupine.Operation {
			byName := make(map[string][]porcupine.Operation)
			for _, o := range all {
				name := as[operation](o.Input).name
				byName[name] = append(byName[name], o)
			}
			var parts [][]porcupine.Operation
			for _, part := range byName {
				parts = append(parts, part)
			}
			return parts
		},
		DescribeOperation: func(input, _ any) string { return as[operation](input).String() },
		DescribeState:     func(state any) string { return as[lockState](state).String() },
	}
}

// open is the return of an operation whose outcome nobody has seen.
const open = math.MaxInt64

// tenure is one hold, from Lock's return on.
type tenure struct {
	worker int
	name   string
	key    string
	token  lock.Token
	// granted is when Lock returned.
	granted int64
	// valid is the last time known to lie before a moment at which Err was nil.
	valid int64
	// until is the Deadline after the end: the earliest moment at which anybody
	// but an operator can have ended it.
	until int64
	// unlocked is when Unlock returned nil, open if it never did.
	unlocked int64
}

// tampering is an operator's interference, from which on S3 is not promised to the
// holds it hit. The other guarantees are.
type tampering struct {
	from  int64
	lease clientv3.LeaseID // revoked, or
	key   string           // deleted
	token lock.Token       // while it was that one's
}

func (x tampering) hits(d tenure) bool {
	if x.key != "" {
		return x.key == d.key && x.token == d.token
	}
	return strings.Contains(d.key, fmt.Sprintf("/%x", int64(x.lease)))
}

// history is what happened, on one monotonic clock.
type history struct {
	began time.Time

	mu         sync.Mutex
	operations []porcupine.Operation
	tenures    []tenure
	tampered   []tampering
	counts     map[string]int
}

func newHistory() *history { return &history{began: time.Now(), counts: make(map[string]int)} }

func (h *history) now() int64 { return h.at(time.Now()) }

func (h *history) at(t time.Time) int64 { return int64(t.Sub(h.began)) }

// add records an operation.
func (h *history) add(worker int, call, ret int64, o operation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.operations = append(h.operations, porcupine.Operation{ClientId: worker, Input: o, Call: call, Return: ret})
}

func (h *history) addTenure(d tenure) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tenures = append(h.tenures, d)
}

func (h *history) addTampering(x tampering) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tampered = append(h.tampered, x)
}

// count counts what is worth knowing about a run.
func (h *history) count(what string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.counts[what]++
}

// sparedUntil returns until when no operator interfered with the tenure.
func (h *history) sparedUntil(d tenure) int64 {
	spared := int64(open)
	for _, x := range h.tampered {
		if x.hits(d) {
			spared = min(spared, x.from)
		}
	}
	return spared
}

// complete returns all operations: what was recorded, and the end of each tenure.
// That is the unlocking if it succeeded; otherwise the server may end a tenure at
// any time from its deadline on.
func (h *history) complete() []porcupine.Operation {
	all := slices.Clone(h.operations)
	for _, d := range h.tenures {
		from := min(d.until, h.sparedUntil(d))
		all = append(all, porcupine.Operation{
			ClientId: d.worker, Call: from, Return: max(from, d.unlocked),
			Input: operation{kind: opEnd, name: d.name, token: d.token},
		})
	}
	h.bound(all)
	return all
}

// bound lets operations without a known end return with the next grant, which spares
// porcupine the orders that cannot differ: a tenure must have ended by then, and what
// a write does after it is nothing, whenever it is done.
func (h *history) bound(all []porcupine.Operation) {
	grants := slices.SortedFunc(slices.Values(h.tenures), func(a, b tenure) int { return cmp.Compare(a.token, b.token) })
	for i := range all {
		o := as[operation](all[i].Input)
		if all[i].Return != open {
			continue
		}
		for _, d := range grants {
			if d.name == o.name && d.token > o.token {
				all[i].Return = min(all[i].Return, max(all[i].Call, d.granted))
			}
		}
	}
}

// overlaps returns how S3 was broken: two holders before their deadlines at once, or
// a hold that said it was valid after its own.
func (h *history) overlaps() (found []string) {
	ordered := slices.SortedFunc(slices.Values(h.tenures), func(a, b tenure) int { return cmp.Compare(a.granted, b.granted) })
	last := make(map[string]tenure) // of each name, the one that lasted longest so far
	for _, d := range ordered {
		if d.valid > d.until {
			found = append(found, fmt.Sprintf("%s: %v was valid %v after its deadline", d.name, d.token, time.Duration(d.valid-d.until)))
		}
		d.until = min(d.until, h.sparedUntil(d))
		if d.until <= d.granted {
			continue // over when Lock returned
		}
		before, exists := last[d.name]
		if exists && d.granted < before.until {
			found = append(found, fmt.Sprintf("%s: %v of worker %d was granted %v before the deadline of %v of worker %d",
				d.name, d.token, d.worker, time.Duration(before.until-d.granted), before.token, before.worker))
		}
		if exists && d.token <= before.token {
			found = append(found, fmt.Sprintf("%s: token %v came after %v", d.name, d.token, before.token))
		}
		if !exists || d.until > before.until {
			last[d.name] = d
		}
	}
	return found
}

// checkTime bounds the search for an order. It takes milliseconds where there is one.
const checkTime = time.Minute

// check requires that the history is one of the model's and that S3 was kept. Nobody
// may record any more.
func (h *history) check(t *testing.T) {
	t.Helper()
	began := time.Now()
	all := h.complete()
	for _, o := range h.overlaps() {
		t.Error("S3:", o)
	}
	result := porcupine.CheckOperationsTimeout(lockModel(), all, checkTime)
	t.Logf("%d operations, checked in %v: %v %v", len(all), time.Since(began).Round(time.Microsecond), result, h.counts)
	if result != porcupine.Ok {
		t.Errorf("the history is not that of a lock: %v; see %s", result, draw(t, all))
	}
}

// draw writes a picture of the history and returns its path, which outlives the test with -artifacts.
func draw(t *testing.T, all []porcupine.Operation) string {
	t.Helper()
	_, info := porcupine.CheckOperationsVerbose(lockModel(), all, checkTime)
	path := filepath.Join(t.ArtifactDir(), "history.html")
	require.NoError(t, porcupine.VisualizePath(lockModel(), info, path))
	return path
}

// The checker itself, on histories made by hand.
func TestHistoryCheckTellsLegalFromIllegal(t *testing.T) {
	t.Parallel()
	const a, b = lock.Token(1), lock.Token(2)
	grant := func(token lock.Token, granted, until, unlocked int64) func(*history) {
		return func(h *history) {
			h.add(0, granted-1, granted, operation{kind: opLock, token: token})
			h.addTenure(tenure{key: fmt.Sprintf("k/%x", int64(token)), token: token, granted: granted, until: until, unlocked: unlocked})
		}
	}
	op := func(call, ret int64, o operation) func(*history) {
		return func(h *history) { h.add(1, call, ret, o) }
	}
	tamper := func(x tampering) func(*history) { return func(h *history) { h.addTampering(x) } }
	for what, c := range map[string]struct {
		legal    bool
		overlaps int
		events   []func(*history)
	}{
		"one after the other":                {true, 0, []func(*history){grant(a, 10, 20, 25), grant(b, 24, 30, 35)}},
		"expired, then another":              {true, 0, []func(*history){grant(a, 10, 20, open), grant(b, 25, 30, 35)}},
		"granted before the deadline":        {false, 1, []func(*history){grant(a, 10, 20, open), grant(b, 15, 30, 35)}},
		"granted before the unlocking":       {false, 1, []func(*history){grant(a, 10, 20, 25), grant(b, 15, 30, 35)}},
		"granted after a revocation":         {true, 0, []func(*history){grant(a, 10, 20, open), tamper(tampering{from: 12, lease: 1}), grant(b, 15, 30, 35)}},
		"granted after a deletion":           {true, 0, []func(*history){grant(a, 10, 20, open), tamper(tampering{from: 12, key: "k/1", token: a}), grant(b, 15, 30, 35)}},
		"granted before a revocation":        {false, 1, []func(*history){grant(a, 10, 20, open), tamper(tampering{from: 17, lease: 1}), grant(b, 15, 30, 35)}},
		"granted after another's revocation": {false, 1, []func(*history){grant(a, 10, 20, open), tamper(tampering{from: 12, lease: 3}), grant(b, 15, 30, 35)}},
		"tokens go down":                     {false, 1, []func(*history){grant(b, 10, 20, 25), grant(a, 30, 40, 45)}},
		"busy with the holder":               {true, 0, []func(*history){grant(a, 10, 20, 25), op(12, 13, operation{kind: opBusy, token: a})}},
		"busy with the next":                 {true, 0, []func(*history){grant(a, 10, 20, 25), op(22, 27, operation{kind: opBusy, token: b})}},
		"busy with a past holder":            {false, 0, []func(*history){grant(a, 10, 20, 25), op(26, 27, operation{kind: opBusy, token: a})}},
		"a holder writes":                    {true, 0, []func(*history){grant(a, 10, 20, 25), op(12, 13, operation{kind: opWrite, token: a, value: 7})}},
		"a past holder writes":               {false, 0, []func(*history){grant(a, 10, 20, 25), op(26, 27, operation{kind: opWrite, token: a, value: 7})}},
		"a write replaces what was not there": {false, 0, []func(*history){
			grant(a, 10, 20, 25), op(12, 13, operation{kind: opWrite, token: a, value: 7, found: 6}),
		}},
		"a write without an answer is seen": {true, 0, []func(*history){
			grant(a, 10, 20, open), op(12, open, operation{kind: opMaybe, token: a, value: 7}), op(30, 31, operation{kind: opRead, value: 7}),
		}},
		"a write without an answer is not seen": {true, 0, []func(*history){
			grant(a, 10, 20, open), op(12, open, operation{kind: opMaybe, token: a, value: 7}), op(30, 31, operation{kind: opRead}),
		}},
		"a write arrives after another's": {false, 0, []func(*history){
			grant(a, 10, 20, open), op(12, open, operation{kind: opMaybe, token: a, value: 7}),
			grant(b, 30, 50, 55), op(32, 33, operation{kind: opWrite, token: b, value: 8}),
			op(34, 35, operation{kind: opWrite, token: b, value: 9, found: 7}),
		}},
		"valid after the deadline": {true, 1, []func(*history){
			func(h *history) {
				grant(a, 10, 20, 25)(h)
				h.tenures[0].valid = 21
			},
		}},
	} {
		h := newHistory()
		for _, event := range c.events {
			event(h)
		}
		require.Len(t, h.overlaps(), c.overlaps, what)
		want := porcupine.Illegal
		if c.legal {
			want = porcupine.Ok
		}
		require.Equal(t, want, porcupine.CheckOperationsTimeout(lockModel(), h.complete(), checkTime), what)
	}
}
