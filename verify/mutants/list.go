package main

import "maps"

// mutants returns all mutants.
func mutants() []mutant {
	var all []mutant
	known := knownBy()
	maps.Copy(known, shardsKnownBy())
	for _, g := range []group{redlockMutants(), leaseMutants(), lookMutants(), queueMutants(), lockMutants(), electionMutants(), watchMutants(), shardMutants()} {
		for _, c := range g.changes {
			all = append(all, mutant{
				name: g.name + "/" + c.name, by: known[g.name+"/"+c.name], file: g.dir + "/" + c.file, fn: c.fn, old: c.old, with: c.with,
				tests: g.tests, equivalent: c.equivalent,
			})
		}
	}
	return all
}

// group is the mutants of a package.
type group struct {
	name, dir string
	tests     []string
	changes   []change
}

// change is a mutant without what its group says.
type change struct{ name, file, fn, old, with, equivalent string }

func redlockMutants() group {
	return group{"redlock", "redlock", []string{"redlock"}, []change{
		{name: "an extension after the deadline revives", file: "hold.go", fn: "Hold.prolong", old: " && clock.Until(h.until) > 0", with: ""},
		{name: "an extension after the end revives", file: "hold.go", fn: "Hold.prolong", old: "!h.ended && clock.Until(h.until) > 0 && ", with: ""},
		{name: "an extension shortens", file: "hold.go", fn: "Hold.prolong", old: " && until > h.until", with: ""},
		{name: "the timer stays where it was", file: "hold.go", fn: "Hold.prolong", old: "h.timer.Reset(until)", with: ""},
		{name: "a quorum after the deadline makes a hold", file: "hold.go", fn: "newHold", old: "if clock.Until(h.until) <= 0 {", with: "if false {"},
		{name: "no deadline check in Err", file: "hold.go", fn: "Hold.Err", old: "clock.Until(h.until) <= 0", with: "false"},
		{name: "a missing key on too many nodes is no loss", file: "hold.go", fn: "Hold.extended", old: "h.lose(errDenied)", with: "return r.failure()"},
		{name: "Unlock returns nil although the lock was lost", file: "hold.go", fn: "Hold.removed", old: "return fmt.Errorf(\"%w: %w\", ErrLost, errDenied)", with: "return nil"},
		{name: "Unlock with the hold's own context does not wait", file: "hold.go", fn: "Hold.Unlock", old: "ctx = context.WithoutCancel(ctx)", with: ""},
		{name: "the keys stay after a loss", file: "hold.go", fn: "Hold.end", old: "h.released = h.claim.remove(h.ctx)", with: "h.released = h.claim.remove(h.ctx)\nif !errors.Is(cause, ErrReleased) { h.claim.mu.Lock(); for i := range h.claim.lanes { h.claim.lanes[i] = lane{} }; h.claim.mu.Unlock() }"},
		{name: "a derived context outlives the hold", file: "hold.go", fn: "Hold.end", old: "(*cancel)(cause)", with: "_ = cancel"},
		{name: "the deadline is in the future after the end", file: "hold.go", fn: "Hold.end", old: "h.wall = now", with: ""},
		{name: "validity counts from the decision", file: "mutex.go", fn: "Mutex.deadline", old: "r.start.Add(m.validity()), r.wall.Add(m.validity())", with: "clock.Now().Add(m.validity()), time.Now().Add(m.validity())"},
		{name: "no allowance for drift", file: "mutex.go", fn: "Mutex.validity", old: " - m.nodes.cfg.allowance(m.cfg.ttl)", with: ""},
		{name: "an acquisition granted as ctx ends is returned", file: "mutex.go", fn: "Mutex.attempt", old: "err = ended(ctx, nil)", with: ""},
		{name: "a minority decides an acquisition", file: "answer.go", fn: "judgeAcquire", old: "t.granted >= quorum ||", with: "t.granted >= quorum-1 ||"},
		{name: "an acquisition goes on when no quorum can come", file: "answer.go", fn: "judgeAcquire", old: " || t.granted+t.pending < quorum", with: ""},
		{name: "an extension is lost one denial late", file: "answer.go", fn: "lost", old: "> nodes-quorum", with: "> nodes-quorum+1"},
		{name: "an extension is lost one denial early", file: "answer.go", fn: "lost", old: "> nodes-quorum", with: ">= nodes-quorum"},
		{name: "a minority is granted", file: "round.go", fn: "round.granted", old: ">= r.m.nodes.quorum()", with: ">= r.m.nodes.quorum()-1"},
		{name: "late answers count", file: "round.go", fn: "round.answer", old: "if !r.over {", with: "if true {"},
		{name: "calls have no end", file: "round.go", fn: "round.overdue", old: "\n\tr.cancel()\n\treturn next", with: "\n\treturn next"},
		{name: "an overdue node stays pending", file: "round.go", fn: "round.expire", old: "r.answers[i] = a", with: "_ = a"},
		{name: "a node is given up one too late", file: "round.go", fn: "round.unreachable", old: "> r.spare()", with: "> r.spare()+1"},
		{name: "what is left is told too short", file: "round.go", fn: "round.remaining", old: "free[r.m.nodes.quorum()-1]", with: "free[0]"},
		{name: "a split lock is waited for as held", file: "round.go", fn: "round.held", old: "n > r.spare()", with: "n > 0"},
		{name: "an extension adds the key before a quorum has confirmed", file: "claim.go", fn: "claim.extendPart", old: "if r.granted() {", with: "if true {"},
		{name: "an extension never adds the key", file: "claim.go", fn: "claim.extendPart", old: "if r.granted() {", with: "if false {"},
		{name: "an acquisition begins after the release", file: "claim.go", fn: "claim.begin", old: "if c.over {", with: "if false {"},
		{name: "an acquisition without answer has not set the key", file: "claim.go", fn: "claim.settle", old: " || !certain\n\tl.doubt", with: "\n\tl.doubt"},
		{name: "an acquisition without answer leaves no doubt", file: "claim.go", fn: "claim.settle", old: "l.doubt = l.doubt || !certain", with: ""},
		{name: "an answer forgets an older doubt", file: "claim.go", fn: "claim.settle", old: "l.doubt = l.doubt || !certain", with: "l.doubt = !certain"},
		{name: "an extension after the release is sent", file: "claim.go", fn: "claim.beginExtension", old: "if c.over {", with: "if false {"},
		{name: "no tombstone", file: "remove.go", fn: "claim.tombstoneTTL", old: "l.pending == 0 && !l.doubt", with: "l.pending >= 0"},
		{name: "a release is not repeated", file: "remove.go", fn: "claim.removeAt", old: "a.state == NodeFailed;", with: "false;"},
		{name: "a repeated release that finds nothing is a loss", file: "remove.go", fn: "claim.deleteAt", old: "a.state == NodeMissing && !certain", with: "false && !certain"},
		{name: "a given-up acquisition is not removed", file: "remove.go", fn: "claim.abandon", old: "c.remove(ctx)", with: ""},
		{name: "a release does not wait for acquisitions under way", file: "remove.go", fn: "claim.awaitIdle", old: "if l.pending == 0 {", with: "if true {"},
		{name: "scripts are not sent in full", file: "script.go", fn: "script.run", old: "redis.HasErrorPrefix(err, \"NOSCRIPT\")", with: "false"},
		{name: "a release wakes nobody", file: "wait.go", fn: "waiter.wait", old: "case <-w.signal:", with: "case <-(chan struct{})(nil):"},
	}}
}

func leaseMutants() group {
	return group{"lease", "lease", []string{"lease"}, []change{
		{name: "the deadline counts from the receipt", file: "round.go", fn: "keeper.confirmed", old: "l.extend(r.round.start, r.round.wall, r.ttl)", with: "l.extend(clock.Now(), time.Now(), r.ttl)"},
		{name: "a deposed leader's acknowledgement counts", file: "round.go", fn: "keeper.renew", old: "return answer{}, pass, errDeposed", with: "_ = errDeposed"},
		{name: "a look of the same term does not confirm", file: "round.go", fn: "keeper.renew", old: "term > acked.term", with: "term >= acked.term"},
		{name: "a lease that the server does not know goes on", file: "round.go", fn: "keeper.note", old: "l.lose(r.err)", with: "l.suspend(r.err)"},
		{name: "renewals once in a TTL", file: "round.go", fn: "keeper.confirmed", old: "r.round.start.Add(l.ttl / roundsPerTTL)", with: "r.round.start.Add(l.ttl)"},
		{name: "an ended lease is not revoked", file: "round.go", fn: "Lease.keep", old: "l.revoke()", with: ""},
		{name: "those on the list are not told of the end", file: "round.go", fn: "Lease.keep", old: "l.look.End()", with: ""},
		{name: "a long look stops at its first step", file: "round.go", fn: "keeper.do", old: "!pass.Done() &&", with: "false && !pass.Done() &&"},
		{name: "an answer at the deadline revives", file: "lease.go", fn: "Lease.extend", old: " || clock.Until(l.until) <= 0", with: ""},
		{name: "an answer after the end revives", file: "lease.go", fn: "Lease.extend", old: "l.state.Ended() || ", with: "", equivalent: "the end caps the deadline, which the other condition sees"},
		{name: "a renewal shortens", file: "lease.go", fn: "Lease.extend", old: "until > l.until", with: "until != l.until"},
		{name: "the timer stays where it was", file: "lease.go", fn: "Lease.extend", old: "l.timer.Reset(l.until)", with: ""},
		{name: "no allowance for drift", file: "lease.go", fn: "config.valid", old: "*c.drift", with: "*c.drift*0"},
		{name: "the context ends after the state", file: "lease.go", fn: "Lease.end", old: "l.cancel(cause)\n", with: "defer l.cancel(cause)\n"},
		{name: "the deadline is in the future after the end", file: "lease.go", fn: "Lease.end", old: "l.wall = now", with: ""},
		{name: "Err does not look at the clock", file: "lease.go", fn: "Lease.Err", old: "clock.Until(l.until) <= 0", with: "false"},
		{name: "a lease ends twice", file: "lease.go", fn: "Lease.end", old: "if l.state.Ended() {", with: "if false {"},
		{name: "a suspended lease is not healthy again", file: "lease.go", fn: "Lease.extend", old: "l.changeTo(Healthy)", with: ""},
		{name: "states are told out of order", file: "lease.go", fn: "Lease.tell", old: "c := l.changes[0]\n\t\tl.changes = l.changes[1:]", with: "c := l.changes[len(l.changes)-1]\n\t\tl.changes = l.changes[:len(l.changes)-1]"},
		{name: "two grants at once", file: "session.go", fn: "Session.obtain", old: "if l := pick(s); l != nil {\n\t\treturn l, nil\n\t}\n\treturn s.grant(ctx)", with: "return s.grant(ctx)"},
		{name: "a grant that comes after Close stays", file: "session.go", fn: "Session.grant", old: "l.end(Closed, ErrClosed)\n", with: ""},
		{name: "Close does not end the leases", file: "session.go", fn: "Session.Close", old: "l.end(Closed, ErrClosed)", with: "_ = l"},
		{name: "a finding older than the last write is believed", file: "registrar.go", fn: "registrar.judge", old: " || rev < r.seen", with: ""},
		{name: "a finding about a replaced registration counts", file: "registrar.go", fn: "registrar.judge", old: "g.all[r.key] != r || ", with: ""},
		{name: "a taken key is overwritten", file: "registrar.go", fn: "registrar.saw", old: "r.expect = 0 // theirs is never overwritten", with: ""},
		{name: "an own key from before the loss is another's", file: "registrar.go", fn: "registrar.saw", old: "case mine:", with: "case false:"},
		{name: "a put that turned up still counts", file: "registrar.go", fn: "registrar.saw", old: "r.unsettled-- // this is one of them", with: ""},
		{name: "registrations stay on a lease that is left", file: "registrar.go", fn: "registrar.run", old: "g.markAll()", with: ""},
		{name: "an older update is taken for the newest", file: "registrar.go", fn: "registrar.dealt", old: "version == r.version", with: "true"},
		{name: "a put that arrives late is not looked for", file: "registrar.go", fn: "registrar.drop", old: "l.look.Suspect(r.key, r.unsettled, r.made...)", with: ""},
		{name: "puts without an answer are not counted", file: "registrar.go", fn: "registrar.commit", old: "g.count(creating, 1)", with: ""},
		{name: "what is in doubt is not reclaimed", file: "registrar.go", fn: "Registration.op", old: "r.unsettled, r.made = l.look.Reclaim(r.key)", with: "r.unsettled, r.made = 0, nil"},
		{name: "what is in doubt under a lease that was left is forgotten", file: "registrar.go", fn: "Registration.suspect", old: "d.lease.look.Suspect(r.key, d.unsettled, d.made...)", with: ""},
		{name: "a refusal is the successor's", file: "registrar.go", fn: "registrar.refused", old: "if g.all[r.key] != r {", with: "if false {"},
		{name: "a TTL of zero is an acknowledgement", file: "stream.go", fn: "stream.answered", old: "if resp.TTL <= 0 {", with: "if false {"},
		{name: "an answer is to whatever was asked first", file: "stream.go", fn: "stream.answered", old: "int64(a.id) == resp.ID", with: "true"},
		{name: "a member without a leader may keep a renewal", file: "stream.go", fn: "stream.run", old: "attempt.RequireLeader(s.ctx)", with: "s.ctx"},
		{name: "a stream that has failed is used again", file: "renewer.go", fn: "renewer.end", old: "r.streams = slices.DeleteFunc(r.streams, func(x *stream) bool { return x == s })", with: ""},
		{name: "what an ended stream owes is waited for", file: "renewer.go", fn: "renewer.end", old: "a.answer <- acknowledgement{err: err}", with: "_ = a"},
		{name: "a stream that leads to a deposed leader is used again", file: "renewer.go", fn: "renewer.distrust", old: "s.deposed = true", with: ""},
		{name: "a silent stream is used again", file: "renewer.go", fn: "renewer.pick", old: "!s.silent(a.sent) && ", with: ""},
		{name: "a stream is used again that owes the lease an answer", file: "renewer.go", fn: "renewer.pick", old: " && !s.owes(a.id)", with: ""},
		{name: "streams are without number", file: "renewer.go", fn: "renewer.pick", old: "len(r.streams) >= mostStreams", with: "false"},
		{name: "the oldest stream is the first to be given up", file: "renewer.go", fn: "renewer.pick", old: "r.end(r.streams[1], errStreamEnded)", with: "r.end(r.streams[0], errStreamEnded)"},
		{name: "the last lease leaves the streams", file: "renewer.go", fn: "renewer.release", old: "last := r.users == 0", with: "last := false"},
	}}
}

func lookMutants() group {
	return group{"look", "internal/look", []string{"internal/look", "lock", "lease"}, []change{
		{name: "a comparison is of any age", file: "look.go", fn: "Look.txn", old: "otherwise = []clientv3.Op{clientv3.OpGet(expected[0].key, clientv3.WithCountOnly())}", with: "_ = otherwise"},
		{name: "a comparison that has failed says nothing", file: "look.go", fn: "Look.Step", old: "k.left, k.missed = slices.Concat(expected, k.left), len(expected)", with: ""},
		{name: "a comparison that has failed is forgotten", file: "look.go", fn: "Look.Step", old: "k.list.distrust(expected)", with: ""},
		{name: "what a comparison has missed is never compared again", file: "list.go", fn: "Item.tell", old: "it.missed = rev >= it.created && kv.GetCreateRevision() != it.created", with: ""},
		{name: "what another wants to know of an entry is not read", file: "look.go", fn: "List.Begin", old: "all[i].created = 0", with: ""},
		{name: "an entry is gone before it was made", file: "list.go", fn: "List.Expect", old: "rev >= created && ", with: ""},
		{name: "a look at nothing is done", file: "look.go", fn: "Look.Done", old: " && k.header != nil", with: ""},
		{name: "what another lease has put is removed", file: "slot.go", fn: "Slot.has", old: "clientv3.LeaseID(kv.Lease) == lease && ", with: ""},
		{name: "absent once is gone for ever", file: "slot.go", fn: "Slot.notFound", old: "s.created = 0", with: "s.created, s.puts = 0, 0"},
		{name: "absent before the put is gone", file: "slot.go", fn: "Slot.notFound", old: "if rev >= s.created {", with: "if true {"},
		{name: "one deletion settles all puts", file: "slot.go", fn: "Slot.Removed", old: "s.puts--", with: "s.puts = 0"},
		{name: "a deletion settles no put", file: "slot.go", fn: "Slot.Removed", old: "s.puts--", with: ""},
		{name: "a key is free while puts may arrive", file: "slot.go", fn: "Slot.freeIfSettled", old: " && s.puts <= 0", with: ""},
		{name: "a key is free while its entry may be there", file: "slot.go", fn: "Slot.freeIfSettled", old: "s.created == 0 && ", with: ""},
		{name: "a key is freed for whoever has it now", file: "slot.go", fn: "Slot.freeIfSettled", old: " && s.list.slots[s.key] == s", with: ""},
		{name: "a finding about the key's next user counts", file: "slot.go", fn: "Slot.current", old: "s.doubtful && s.list.slots[s.key] == s", with: "s.doubtful"},
		{name: "a key in use is reserved", file: "slot.go", fn: "List.Reserve", old: "!used", with: "!used || n > 0"},
		{name: "keys in doubt are not looked at", file: "look.go", fn: "List.Begin", old: "if s.doubtful {", with: "if false {"},
		{name: "judges are told a revision that is too new", file: "look.go", fn: "Look.tell", old: "it.tell(kv, rev)", with: "it.tell(kv, rev+1)"},
		{name: "an orphan is removed without its revisions", file: "look.go", fn: "orphan.removal", old: "clientv3.Compare(clientv3.CreateRevision(o.slot.key), \"=\", o.created),\n\t\t\tclientv3.Compare(clientv3.ModRevision(o.slot.key), \"=\", o.modified),", with: ""},
		{name: "what was put again since is removed", file: "look.go", fn: "orphan.removal", old: "clientv3.Compare(clientv3.ModRevision(o.slot.key), \"=\", o.modified),", with: ""},
		{name: "a failed comparison is all there", file: "look.go", fn: "Look.Step", old: "if !resp.Succeeded {", with: "if false {"},
		{name: "other keys are not read beside a comparison", file: "look.go", fn: "Look.read", old: "k.left[n:]", with: "k.left[len(k.left):]"},
		{name: "keys in doubt beyond the first transaction are not looked at", file: "look.go", fn: "List.Begin", old: "k.sort(all)", with: "k.sort(all[:min(len(all), l.maxOps)])"},
		{name: "the server's limit of operations is not learnt", file: "look.go", fn: "Look.failed", old: "k.list.shrink(n)", with: ""},
		{name: "looks that overlap learn a limit twice", file: "apart.go", fn: "List.shrink", old: "min(l.maxOps, n/2)", with: "l.maxOps/2"},
		{name: "what a comparison has missed waits for another", file: "look.go", fn: "Look.next", old: "expected = nil", with: ""},
		{name: "the keys of a refused step are not read", file: "look.go", fn: "Look.Step", old: "k.setApart(slices.Concat(expected, left))", with: ""},
		{name: "keys that were set apart are not urgent", file: "look.go", fn: "Look.Urgent", old: " || len(k.apart) > 0 && !k.tried", with: ""},
		{name: "keys that were set apart are read one by one", file: "apart.go", fn: "List.putBack", old: "l.readApart = 2 * len(keys)", with: ""},
		{name: "keys that could be read stay apart", file: "apart.go", fn: "List.putBack", old: "delete(l.apart, f.key)", with: "_ = f"},
		{name: "keys that cannot be read have no turns", file: "apart.go", fn: "List.refuses", old: "l.turn++", with: ""},
		{name: "all keys that cannot be read are tried", file: "look.go", fn: "Look.stepApart", old: "if k.refusals >= maxRefusals {", with: "if false {"},
		{name: "a refused step is confirmed by the members", file: "probe.go", fn: "List.couldRead", old: "l.probed = keys[0].key", with: ""},
		{name: "keys that were set apart wait for all others", file: "look.go", fn: "Look.Step", old: "!k.tried || ", with: ""},
		{name: "a first step reads keys that were set apart", file: "look.go", fn: "Look.Step", old: "k.header != nil && ", with: ""},
		{name: "the default is not probed again", file: "probe.go", fn: "List.notReadable", old: "l.probed = probeKey", with: "l.probed = \"\""},
		{name: "a removal that may succeed later is split", file: "look.go", fn: "Look.settle", old: " || attempt.Transient(err)", with: ""},
		{name: "all removals that are refused are tried", file: "look.go", fn: "Look.settle", old: "k.found = nil", with: ""},
		{name: "an orphan that may not be removed keeps the others", file: "look.go", fn: "Look.settle", old: "case len(batch) > 1:", with: "case false:"},
		{name: "an orphan that an operator has put again stays", file: "slot.go", fn: "Slot.has", old: "case kv.CreateRevision == s.created:", with: "case false:"},
		{name: "those on the list are not told of the end", file: "list.go", fn: "List.End", old: "fn()", with: "_ = fn"},
		{name: "a removed item is judged for ever", file: "list.go", fn: "Item.Remove", old: "delete(it.list.items, it)", with: ""},
	}}
}

func queueMutants() group {
	return group{"queue", "internal/queue", []string{"internal/queue", "lock", "election"}, []change{
		{name: "two of one name in a batch", file: "batch.go", fn: "batches.enter", old: "; out {", with: "; out && false {"},
		{name: "what was not sent is in doubt", file: "state.go", fn: "inDoubt", old: "!errors.Is(err, errUnsent) && ", with: ""},
		{name: "one that has left a refused batch is waited for", file: "batch.go", fn: "batches.apart", old: "if !p.left {", with: "if true {"},
		{name: "a batch goes on that all have left", file: "batch.go", fn: "batch.leave", old: "t.cancel()", with: ""},
		{name: "a batch in which a condition fails is taken for done", file: "batch.go", fn: "batches.send", old: "case err == nil && resp.Succeeded:", with: "case err == nil:"},
		{name: "all of a batch are given the answer to the first", file: "batch.go", fn: "batch.answer", old: "answers = answers[n:]", with: ""},
		{name: "a batch is as large as before when the server has refused it", file: "batch.go", fn: "batches.learn", old: "b.limit = min(cmp.Or(b.limit, mostParts), max(len(t.parts)/2, 1))", with: ""},
		{name: "queues within each other share transactions", file: "batch.go", fn: "entry.shareable", old: " && !e.q.Nests", with: ""},
		{name: "the first of a crowd stays behind", file: "batch.go", fn: "batches.enter", old: "b.hasten(other)", with: "_ = other"},
		{name: "an error of a batch is everybody's", file: "batch.go", fn: "batches.send", old: "attempt.Shared(err)", with: "err"},
		{name: "what a batch brings is not looked for", file: "batch.go", fn: "batches.look", old: "p.entry.keys.Soon()", with: ""},
		{name: "batches of one are gathered", file: "batch.go", fn: "batches.enter", old: "b.limit == 1", with: "false"},
		{name: "the oldest of another queue is the oldest of the own", file: "wait.go", fn: "entry.follow", old: " && ahead.legs[0].lane.behind == g.lane.behind", with: ""},
		{name: "a transaction is answered by any member", file: "txn.go", fn: "guardedTxn.commit", old: "if t.local() {", with: "if false {"},
		{name: "no wake-up check", file: "wait.go", fn: "entry.check", old: "before, err := e.older(ctx, max(after, e.created))", with: "before, err := make([]position, len(e.legs)), error(nil)"},
		{name: "the wake-up check may be older than the event", file: "wait.go", fn: "entry.check", old: "max(after, e.created)", with: "e.created"},
		{name: "the wake-up check may be older than the entry", file: "wait.go", fn: "entry.check", old: "max(after, e.created)", with: "after", equivalent: "a predecessor is first seen when the own entry is there, and no event counts that is older than that"},
		{name: "a serializable read of any revision", file: "wait.go", fn: "entry.readIf", old: " || resp.Header.Revision >= rev", with: " || true"},
		{name: "the own entry is not checked", file: "wait.go", fn: "entry.older", old: "return nil, errOwnGone", with: ""},
		{name: "events that were seen already count", file: "watching.go", fn: "watching.heard", old: "ev.Kv.ModRevision <= g.before.seen", with: "false"},
		{name: "no read at the watch's beginning", file: "watching.go", fn: "watching.begun", old: "rev <= g.before.seen", with: "true"},
		{name: "the second does not mind its own key", file: "watching.go", fn: "watching.heard", old: "v.both = false", with: ""},
		{name: "the second does not read its own key at the watch's beginning", file: "watching.go", fn: "watching.begun", old: "v.both && !v.e.is(first(resp, 1))", with: "false"},
		{name: "whatever goes between the two keys is the second's turn", file: "watching.go", fn: "watching.heard", old: "g.before.whole || key == g.before.key", with: "g.before.whole || key != g.key"},
		{name: "whoever waits is the second", file: "lane.go", fn: "Lane.before", old: "l.ordered() && !answers[0].GetResponseRange().More", with: "l.ordered()"},
		{name: "readers and semaphores have a second", file: "lane.go", fn: "Lane.before", old: "l.ordered() && !answers[0].GetResponseRange().More", with: "!answers[0].GetResponseRange().More", equivalent: "who makes use of it asks whether the lane is ordered, too"},
		{name: "a neighbour counts before it has owned", file: "state.go", fn: "entry.hasOwned", old: "e.created == created && e.life.owned", with: "e.created == created"},
		{name: "a neighbour is known by its key", file: "state.go", fn: "entry.hasOwned", old: "e.created == created && e.life.owned", with: "e.life.owned", equivalent: "another entry of the key came after the own, and owns only if that has gone, which both reads find out"},
		{name: "behind a neighbour the own entry is not read", file: "wait.go", fn: "entry.present", old: "return errOwnGone", with: ""},
		{name: "a watch that is never created is waited for", file: "watching.go", fn: "watching.run", old: "v.end(wakeup{why: watchOverdue, after: seen})", with: "_ = seen"},
		{name: "a look does not notice that the predecessor is gone", file: "watching.go", fn: "watching.observe", old: "v.end(wakeup{why: lookNoticed, after: rev})", with: ""},
		{name: "a look does not notice that the own entry is gone", file: "watching.go", fn: "watching.observe", old: "v.end(wakeup{why: ownDeleted})", with: ""},
		{name: "a silent stream is used again", file: "wait.go", fn: "entry.wait", old: "stream.Abandon()", with: ""},
		{name: "ctx does not end a wait", file: "watching.go", fn: "entry.awaitPredecessor", old: "v.end(wakeup{why: callerDone})", with: ""},
		{name: "the predecessor is judged by its key", file: "kind.go", fn: "position.is", old: "kv != nil && kv.CreateRevision == p.created", with: "kv != nil"},
		{name: "entries that came later are waited for", file: "lane.go", fn: "firstBefore", old: "kv.CreateRevision < created", with: "true"},
		{name: "the nearest older entry is not bounded", file: "lane.go", fn: "Lane.older", old: "clientv3.WithMaxCreateRev(created-1)", with: "clientv3.WithMaxCreateRev(created)"},
		{name: "the own weight does not count", file: "kind.go", fn: "untilItFits.predecessor", old: "sum + k.weight - k.permits; excess > 0", with: "sum + 1 - k.permits; excess > 0"},
		{name: "one permit too many", file: "kind.go", fn: "untilItFits.predecessor", old: "; excess > 0", with: "; excess > 1"},
		{name: "who has come to own is not heard of", file: "lane.go", fn: "Lane.watch", old: "!l.kind.heedsPuts()", with: "true"},
		{name: "a try puts although somebody waits", file: "kind.go", fn: "behindAll.free", old: "\"=\", 0)", with: "\">\", -1)"},
		{name: "a writer who has become a reader is waited for", file: "kind.go", fn: "behindWriters.predecessor", old: "newest.Version > 1", with: "false"},
		{name: "no mark of who has come to own", file: "remove.go", fn: "entry.announce", old: "if e.legs[0].lane.permits == 0 {", with: "if true {"},
		{name: "no nonce", file: "enqueue.go", fn: "entry.wrote", old: "return Parse(kv).Record.Nonce == e.record.Nonce", with: "return true"},
		{name: "nothing is adopted", file: "enqueue.go", fn: "entry.wrote", old: "return Parse(kv).Record.Nonce == e.record.Nonce", with: "return false"},
		{name: "an adopted entry owns", file: "enqueue.go", fn: "entry.adopt", old: "e.legs[i].before = position{created: unknownRevision, seen: resp.Header.Revision}", with: "_ = i"},
		{name: "puts that were answered stay unsettled", file: "state.go", fn: "life.putAnswered", old: "l.puts--", with: ""},
		{name: "a foreign key is free again", file: "state.go", fn: "life.takenByAnother", old: "l.puts++", with: ""},
		{name: "the put overwrites", file: "enqueue.go", fn: "entry.absent", old: "\"=\", 0)", with: "\">\", -1)"},
		{name: "an entry that was given up is not removed", file: "remove.go", fn: "entry.removeUnsettled", old: "removed, err := e.delete(ctx)\n\tswitch", with: "removed, err := true, ctx.Err()\n\tswitch"},
		{name: "an entry that was given up is not in doubt", file: "remove.go", fn: "entry.remove", old: "e.becomeUnsettled()", with: "e.becomeGone()"},
		{name: "the removal is not guarded", file: "remove.go", fn: "entry.ours", old: "clientv3.Compare(clientv3.CreateRevision(key), \"=\", e.created)", with: "clientv3.Compare(clientv3.CreateRevision(key), \">\", 0)"},
		{name: "the removal of an unknown entry is not guarded", file: "remove.go", fn: "entry.ours", old: "clientv3.Compare(clientv3.Value(key), \"=\", e.value)", with: "clientv3.Compare(clientv3.CreateRevision(key), \">\", 0)"},
		{name: "a lost lease ends the wait", file: "acquire.go", fn: "entry.giveUp", old: "case e.lease.Err() != nil:", with: "case e.lease.Err() != nil && why == nil:"},
		{name: "a deleted entry ends the wait", file: "acquire.go", fn: "entry.giveUp", old: "case errors.Is(why, errOwnGone):", with: "case false:"},
		{name: "no last look at the deadline before a grant", file: "grant.go", fn: "Grant.start", old: "if err := e.lease.Err(); err != nil {", with: "if err := e.lease.Err(); err != nil && false {"},
		{name: "a holder's deleted key is not noticed", file: "grant.go", fn: "Grant.start", old: "deleted, ended := g.deleted, ", with: "deleted, ended := func() {}, "},
		{name: "the deadline is not capped by the end", file: "grant.go", fn: "Grant.end", old: "g.deadline = now", with: ""},
		{name: "derived contexts outlive the hold", file: "grant.go", fn: "Grant.end", old: "(*cancel)(cause)", with: "_ = cancel"},
		{name: "the guard is true after the end", file: "grant.go", fn: "Grant.Guard", old: "if g.ended {", with: "if false {"},
		{name: "guards do not expose", file: "grant.go", fn: "Grant.Guard", old: "g.exposed = true", with: ""},
		{name: "a release that finds nothing is fine", file: "grant.go", fn: "Grant.delete", old: "removed || e.life.mayBeDeleted() && e.lease.Err() == nil", with: "removed || true"},
		{name: "a repeated release that finds nothing is a loss", file: "grant.go", fn: "Grant.delete", old: "removed || e.life.mayBeDeleted() && e.lease.Err() == nil", with: "removed"},
		{name: "a refused release frees the key", file: "grant.go", fn: "Grant.delete", old: "e.becomeUnsettled()", with: "e.becomeGone()"},
		{name: "a writer's guard holds after a downgrade", file: "enqueue.go", fn: "entry.guard", old: "if lane.sole {", with: "if lane.sole && false {"},
		{name: "a late put undoes a later one", file: "put.go", fn: "entry.trySwap", old: "append(e.same(), clientv3.Compare(clientv3.ModRevision(e.key()), \"=\", e.modified))", with: "e.same()"},
		{name: "freed permits are not counted", file: "kind.go", fn: "leg.endedBy", old: "g.before.excess -= weigh(kv)", with: ""},
		{name: "each release is a check", file: "kind.go", fn: "leg.endedBy", old: "!g.before.whole || g.before.excess <= 0", with: "true"},
		{name: "queueing again asks for a lease", file: "handover.go", fn: "Ended.Requeue", old: "e := q.newEntry(old.lease)", with: "_, _ = q.place(ctx)\n\te := q.newEntry(old.lease)"},
		{name: "an entry keeps the one before it", file: "wait.go", fn: "entry.wait", old: "e.ahead = nil", with: ""},
		{name: "a delete without an answer is forgotten", file: "state.go", fn: "life.deleteSent", old: "l.deletes++", with: ""},
		{name: "puts without an answer are not counted", file: "state.go", fn: "life.putSent", old: "l.puts++", with: ""},
		{name: "a key is free while its value is being deleted", file: "remove.go", fn: "entry.remove", old: "if byValue {", with: "if false {"},
		{name: "a key is free although its value may be deleted late", file: "remove.go", fn: "entry.remove", old: "byValue && e.life.undeleted() == 0", with: "byValue"},
		{name: "an adopted put stays unanswered", file: "state.go", fn: "life.found", old: "l.puts--", with: ""},
		{name: "keys of an entry that is gone are free although a put may arrive", file: "state.go", fn: "entry.giveBackKeys", old: "e.life.puts", with: "0"},
	}}
}

func lockMutants() group {
	return group{"lock", "lock", []string{"lock"}, []change{
		{name: "a turn that comes as ctx ends is lost", file: "station.go", fn: "station.await", old: "return s.hold(<-w.granted)", with: "return nil, attempt.Ended(ctx, nil)"},
		{name: "no end of hand-offs", file: "station_entry.go", fn: "station.dispose", old: "s.sequence >= s.max", with: "false"},
		{name: "one hand-off too many", file: "station_entry.go", fn: "station.dispose", old: "s.sequence >= s.max", with: "s.sequence > s.max"},
		{name: "no new sequence after a hand-off", file: "station_entry.go", fn: "station.dispose", old: "s.sequence++", with: ""},
		{name: "no new sequence after lingering", file: "station_entry.go", fn: "station.takeLingering", old: "s.sequence++", with: ""},
		{name: "the sequence goes on with a new entry", file: "station_entry.go", fn: "station.arrived", old: "s.sequence = 0", with: ""},
		{name: "handed on although a transaction may commit", file: "station_entry.go", fn: "station.dispose", old: "case !ended.Clean:", with: "case false:"},
		{name: "lingers although another process waits", file: "linger.go", fn: "station.keep", old: " || s.wanted", with: ""},
		{name: "another process is not noticed", file: "linger.go", fn: "station.want", old: "if lingers {", with: "if lingers && false {"},
		{name: "a try overtakes those who wait", file: "station.go", fn: "station.tryNow", old: " || len(s.waiters) > 0", with: ""},
		{name: "an acquisition goes on for nobody", file: "station.go", fn: "station.remove", old: "s.stop()", with: ""},
		{name: "a lost grant is still current", file: "station_entry.go", fn: "station.forgetLost", old: "s.becomeVacant()", with: ""},
		{name: "a fence takes an older token", file: "fence.go", fn: "Fence.check", old: "if t < f.highest {", with: "if false {"},
		{name: "a fence takes no token twice", file: "fence.go", fn: "Fence.check", old: "t < f.highest", with: "t <= f.highest"},
	}}
}

func electionMutants() group {
	return group{"election", "election", []string{"election"}, []change{
		{name: "steps within a snapshot are told as changes of the leader", file: "follower.go", fn: "follower.take", old: "!batch.Snapshot && !batch.Resync", with: "true"},
		{name: "a state after a gap is not told if it is as before", file: "follower.go", fn: "follower.take", old: "f.sawAgain(", with: "f.saw("},
		{name: "a transfer's outcome is told by key", file: "transfer.go", fn: "Term.Transfer", old: "l.Token != to.Token || ", with: ""},
		{name: "those ahead are removed by key", file: "transfer.go", fn: "removals", old: "\"=\", o.CreateRevision", with: "\">\", int64(0)"},
		{name: "a candidate is told by key", file: "transfer.go", fn: "Term.ahead", old: " && o.CreateRevision == to.Token.Revision()", with: ""},
		{name: "a leader whose key was used again transfers", file: "transfer.go", fn: "Term.ahead", old: " || all[0].CreateRevision != t.grant.Revision()", with: ""},
		{name: "the candidate is not compared", file: "transfer.go", fn: "Term.Transfer", old: "[]clientv3.Cmp{same}", with: "[]clientv3.Cmp{same}[:0]"},
		{name: "one candidate too many is removed", file: "transfer.go", fn: "Term.ahead", old: "return all[1:i], nil", with: "return all[1:min(i+2, len(all))], nil"},
	}}
}

func watchMutants() group {
	return group{"watch", "watch", []string{"watch"}, []change{
		{name: "a position moves by the answer to another watch's question", file: "receive.go", fn: "reception.ask", old: "case !r.w.line.shared:", with: "case true:"},
		{name: "a sign of life on a shared stream moves the position", file: "receive.go", fn: "reception.judge", old: "if header.GetRevision() < r.f.position {", with: "r.f.position = max(r.f.position, header.GetRevision())\n\tif header.GetRevision() < r.f.position {"},
		{name: "a proof is used before its events are there", file: "receive.go", fn: "reception.use", old: " || p.last > r.f.position", with: ""},
		{name: "what comes again is delivered again", file: "receive.go", fn: "reception.receive", old: "after(resp.Events, f.position)", with: "resp.Events"},
		{name: "another cluster's events are taken", file: "follow.go", fn: "follower.checkCluster", old: "id != 0 && id != f.cluster", with: "false"},
		{name: "a store that was set back is followed", file: "follow.go", fn: "follower.checkFuture", old: "current < revision", with: "false"},
		{name: "a gap forgets what the store had", file: "follow.go", fn: "follower.begin", old: "created < f.least", with: "false"},
		{name: "all read at once", file: "streams.go", fn: "streams.read", old: "case s.reads <- struct{}{}:\n\tcase <-ctx.Done():\n\t\treturn nil, ended(ctx)\n\t}\n\tdefer func() { <-s.reads }()", with: "default:\n\t}"},
		{name: "a silent watch is waited for", file: "receive.go", fn: "reception.giveUp", old: "return errSilent", with: "r.silent.Reset(r.f.quiet)\n\treturn nil"},
		{name: "a long history has no more time than a short one", file: "receive.go", fn: "reception.giveUp", old: "r.f.quiet = min(2*r.f.quiet, maxQuiet*r.f.stall)", with: ""},
		{name: "a member that stands still is kept", file: "lag.go", fn: "reception.keepUp", old: "return errBehind", with: "return nil"},
		{name: "nobody reads what the members have to come to", file: "lag.go", fn: "reception.inquire", old: "!ok", with: "true"},
		{name: "what does not fit is left out", file: "receive.go", fn: "follower.advance", old: "return errFull", with: "return nil"},
		{name: "who is slow begins where it was", file: "follow.go", fn: "follower.recover", old: "f.buffer.awaitRoom(ctx)\n\t\tf.position = max(f.position, f.buffer.wanted())", with: "f.buffer.awaitRoom(ctx)\n\t\tf.position += 1"},
		{name: "a watch that begins after the position is fine", file: "follow.go", fn: "follower.begin", old: "f.position < created && w.revision == 0", with: "false"},
		{name: "what the state shows comes again", file: "stream.go", fn: "delivery.load", old: "d.buffer.skip(revision, gap.epoch)", with: ""},
		{name: "a state is told twice", file: "stream.go", fn: "delivery.load", old: "case revision == d.last:", with: "case false:"},
		{name: "deleted keys are remembered", file: "stream.go", fn: "memory.apply", old: "delete(m, string(ev.Kv.Key))", with: ""},
		{name: "after a compaction what has gone stays", file: "stream.go", fn: "delivery.load", old: "b.Events = difference(d.known.revisions(), kvs, revision)", with: "b.Events = whole(kvs)"},
		{name: "keys that vanished with their store stay", file: "cache.go", fn: "Cache.apply", old: "entries = append(entries, c.vanished(entries, base, b.Revision)...)", with: ""},
		{name: "an older entry replaces a newer one", file: "cache.go", fn: "Cache.set", old: ", old != nil && old.at >= e.at", with: ""},
		{name: "nobody is told of a batch", file: "cache.go", fn: "Cache.install", old: "c.notify()", with: ""},
		{name: "a member that does not answer is asked ever faster", file: "follow.go", fn: "follower.rest", old: "f.pause = min(2*f.pause, maxPause)", with: "f.pause = 0"},
	}}
}
