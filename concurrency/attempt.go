package concurrency

import (
	"context"
	"errors"
	"slices"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// mostOps is how many operations a server takes in a transaction unless told otherwise.
const mostOps = 128

// span is what one read covers: a key, or with an end the range up to it.
type span struct{ from, end string }

func (s span) op(opts ...clientv3.OpOption) clientv3.Op {
	if s.end != "" {
		opts = append(opts, clientv3.WithRange(s.end))
	}
	return clientv3.OpGet(s.from, opts...)
}

// covers reports whether key lies in the span.
func (s span) covers(key string) bool {
	if s.end == "" {
		return key == s.from
	}
	return key >= s.from && (s.end == "\x00" || key < s.end)
}

// found is what a read has found, and the revision that it is of.
type found struct {
	kvs      []*mvccpb.KeyValue
	revision int64
}

// conditions are true while a read of the span finds the same. Keys that have come or were
// modified the range's own tells; which are gone, only each key's.
func (f found) conditions(s span) []clientv3.Cmp {
	if s.end == "" {
		var modified int64
		if len(f.kvs) > 0 {
			modified = f.kvs[0].ModRevision
		}
		return []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(s.from), "=", modified)}
	}
	conds := []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(s.from), "<", f.revision+1).WithRange(s.end)}
	for _, kv := range f.kvs {
		conds = append(conds, clientv3.Compare(clientv3.ModRevision(string(kv.Key)), "=", kv.ModRevision))
	}
	return conds
}

// write is what a transaction does to a key.
type write struct {
	op      clientv3.Op
	value   string
	deletes bool
}

// attempt is one attempt of a transaction after the other.
type attempt struct {
	client *clientv3.Client
	opts   stmOptions

	reads  map[span]found
	order  []span // those of reads, in the order in which they were made
	writes map[string]write
	puts   []string       // the keys of writes, in the order in which they were first made
	base   int64          // the revision of a snapshot, 0 before the first read
	ahead  map[span]found // what the last commit found that failed, as of one revision
}

func newAttempt(c *clientv3.Client, o stmOptions) *attempt { return &attempt{client: c, opts: o} }

func (a *attempt) attempt() *attempt { return a }

// failure is what an attempt panics with to leave apply.
type failure struct{ err error }

var errCompacted = errors.New("the snapshot was compacted away")

// run makes one attempt, and reports whether there has to be another.
func (a *attempt) run(apply func(STM) error) (resp *clientv3.TxnResponse, again bool, err error) {
	a.reads, a.order, a.base = make(map[span]found), nil, 0
	a.writes, a.puts = make(map[string]write), nil
	if err := a.apply(apply); err != nil {
		if errors.Is(err, errCompacted) {
			a.ahead = nil
			return nil, true, nil
		}
		return nil, false, err
	}
	return a.commit()
}

// apply calls fn, and returns its error or the one with which a read has left it.
func (a *attempt) apply(fn func(STM) error) (err error) {
	defer func() {
		if left := recover(); left != nil {
			f, ok := left.(failure)
			if !ok {
				panic(left)
			}
			err = f.err
		}
	}()
	if len(a.opts.prefetch) > 0 {
		a.Get(a.opts.prefetch...)
	}
	return fn(a)
}

// commit writes what there is to write if what was read still holds. If not, it takes what
// the same reads find now for the next attempt.
func (a *attempt) commit() (resp *clientv3.TxnResponse, again bool, err error) {
	var otherwise []clientv3.Op
	for _, s := range a.order[:min(len(a.order), mostOps)] {
		otherwise = append(otherwise, s.op())
	}
	var then []clientv3.Op
	for _, key := range a.puts {
		then = append(then, a.writes[key].op)
	}
	send := led[*clientv3.TxnResponse]
	if len(then) == 0 { // it reads, and does no harm twice
		send = beside
	}
	resp, err = send(a.opts.ctx, request{a.client, "concurrency: committing a transaction"}, func(ctx context.Context) (*clientv3.TxnResponse, error) {
		return a.client.Txn(ctx).If(a.conditions()...).Then(then...).Else(otherwise...).Commit()
	})
	switch {
	case err != nil:
		return nil, false, a.ended(err)
	case resp.Succeeded:
		return resp, false, nil
	}
	a.ahead = make(map[span]found, len(resp.Responses))
	for i, answer := range resp.Responses {
		a.ahead[a.order[i]] = found{answer.GetResponseRange().Kvs, resp.Header.Revision}
	}
	return nil, true, nil
}

// conditions are those under which the transaction may commit.
func (a *attempt) conditions() (conds []clientv3.Cmp) {
	if a.opts.iso == ReadCommitted {
		return nil
	}
	for _, s := range a.order {
		conds = append(conds, a.reads[s].conditions(s)...)
	}
	if a.opts.iso == SerializableSnapshot && a.base > 0 {
		for _, key := range a.puts {
			if _, read := a.reads[span{from: key}]; read { // and not modified since
				continue
			}
			conds = append(conds, clientv3.Compare(clientv3.ModRevision(key), "<", a.base+1))
		}
	}
	return conds
}

// ended returns ctx's own error if that is why a request has failed.
func (a *attempt) ended(err error) error {
	if why := a.opts.ctx.Err(); why != nil {
		return why
	}
	return err
}

// fail leaves apply.
func (a *attempt) fail(err error) { panic(failure{err}) }

// read returns what is in the spans, and asks for those together that were not read yet.
func (a *attempt) read(spans ...span) found {
	var missing []span
	for _, s := range spans {
		if _, ok := a.reads[s]; !ok && !slices.Contains(missing, s) && !a.foresee(s) {
			missing = append(missing, s)
		}
	}
	for part := range slices.Chunk(missing, mostOps) {
		a.fetch(part)
	}
	return a.reads[spans[0]]
}

// foresee takes what the last commit has found for a read, if it can.
func (a *attempt) foresee(s span) bool {
	f, ok := a.ahead[s]
	if !ok || a.opts.iso.snapshot() && a.base > 0 && a.base != f.revision {
		return false
	}
	a.note(s, f)
	return true
}

// note takes note of a read.
func (a *attempt) note(s span, f found) {
	if _, ok := a.reads[s]; !ok {
		a.order = append(a.order, s)
	}
	a.reads[s] = f
	if a.base == 0 {
		a.base = f.revision
	}
}

// fetch reads spans in one request.
func (a *attempt) fetch(spans []span) {
	resp, err := a.ask(spans, a.how())
	if errors.Is(err, rpctypes.ErrFutureRev) { // the member asked has not got there yet
		resp, err = a.ask(spans, []clientv3.OpOption{clientv3.WithRev(a.base)})
	}
	switch {
	case errors.Is(err, rpctypes.ErrCompacted):
		a.fail(errCompacted)
	case err != nil:
		a.fail(a.ended(err))
	}
	revision := resp.Header.Revision
	if a.opts.iso.snapshot() && a.base > 0 {
		revision = a.base
	}
	for i, answer := range resp.Responses {
		a.note(spans[i], found{answer.GetResponseRange().Kvs, revision})
	}
}

// how returns how to read: what is later in a snapshot any member may answer, since it is
// of a revision that is known; and so all that needs no snapshot.
func (a *attempt) how() []clientv3.OpOption {
	switch {
	case !a.opts.iso.snapshot():
		return []clientv3.OpOption{clientv3.WithSerializable()}
	case a.base > 0:
		return []clientv3.OpOption{clientv3.WithRev(a.base), clientv3.WithSerializable()}
	}
	return nil
}

func (a *attempt) ask(spans []span, how []clientv3.OpOption) (*clientv3.TxnResponse, error) {
	ops := make([]clientv3.Op, len(spans))
	for i, s := range spans {
		ops[i] = s.op(how...)
	}
	return beside(a.opts.ctx, request{a.client, "concurrency: reading for a transaction"}, func(ctx context.Context) (*clientv3.TxnResponse, error) {
		return a.client.Txn(ctx).Then(ops...).Commit()
	})
}

// Get implements STM.
func (a *attempt) Get(keys ...string) string {
	if len(keys) == 0 {
		return ""
	}
	var spans []span
	for _, key := range keys {
		if _, written := a.writes[key]; !written {
			spans = append(spans, span{from: key})
		}
	}
	if len(spans) > 0 {
		a.read(spans...)
	}
	if w, ok := a.writes[keys[0]]; ok {
		return w.value
	}
	return string(a.key(keys[0]).GetValue())
}

// key returns what is under a key, nil if nothing is.
func (a *attempt) key(key string) *mvccpb.KeyValue {
	if f := a.read(span{from: key}); len(f.kvs) > 0 {
		return f.kvs[0]
	}
	return nil
}

// Put implements STM.
func (a *attempt) Put(key, val string, opts ...clientv3.OpOption) {
	a.write(key, write{op: clientv3.OpPut(key, val, opts...), value: val})
}

// Del implements STM.
func (a *attempt) Del(key string) {
	a.write(key, write{op: clientv3.OpDelete(key), deletes: true})
}

func (a *attempt) write(key string, w write) {
	if _, again := a.writes[key]; !again {
		a.puts = append(a.puts, key)
	}
	a.writes[key] = w
}

// Rev implements STM.
func (a *attempt) Rev(key string) int64 { return a.key(key).GetModRevision() }
