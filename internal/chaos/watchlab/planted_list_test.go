package watchlab_test

import "github.com/conclave-go/conclave/internal/chaos/watchlab"

// faults are what the lab has to find. Each is a mistake that somebody could make, or has
// made, in package watch.
func faults() []planted {
	return []planted{
		{
			name:   "answers-of-others",
			what:   "watches share a gRPC stream, and take answers sent before they were created for their own",
			checks: []watchlab.Check{watchlab.Snapshots, watchlab.Events},
			edits: []edit{
				{"watcher.go", "if !ok { // somebody else's", "if ok = false; !ok { // somebody else's"},
				{"watcher.go", "ctx, streamKey, w.number))", "ctx, streamKey, \"all\"))"},
			},
		},
		{
			name:   "sign-of-life-believed",
			what:   "a watch on a shared gRPC stream takes the creation of another for its own progress",
			checks: []watchlab.Check{watchlab.Snapshots, watchlab.Events},
			edits: []edit{{
				"receive.go",
				"\tif header.GetRevision() < r.f.position {",
				"\tif revision := header.GetRevision(); revision > r.f.position {\n\t\treturn r.f.advance(Batch{Revision: revision})\n\t}\n\tif header.GetRevision() < r.f.position {",
			}},
		},
		{
			name:   "proof-too-early",
			what:   "proof of a watch's progress on a shared gRPC stream is used before the events that it covers have arrived",
			checks: []watchlab.Check{watchlab.Snapshots, watchlab.Events},
			edits:  []edit{{"receive.go", "if p.upTo <= r.f.position || p.last > r.f.position {", "if p.upTo <= r.f.position {"}},
		},
		{
			name:   "compaction-ignored",
			what:   "a stream whose history is compacted resumes where history begins",
			checks: []watchlab.Check{watchlab.Snapshots, watchlab.Events},
			edits: []edit{{
				"receive.go",
				"\tcase resp.CompactRevision != 0:\n\t\treturn &CompactedError{Requested: f.position + 1, Compacted: resp.CompactRevision}",
				"\tcase resp.CompactRevision != 0:\n\t\tf.position = resp.CompactRevision\n\t\treturn errEnded",
			}},
		},
		{
			name:   "resync-dropped",
			what:   "the difference that a resync has read is not delivered",
			checks: []watchlab.Check{watchlab.Resyncs, watchlab.Snapshots},
			edits:  []edit{{"stream.go", "b.Events = difference(d.known.revisions(), kvs, revision)", "b.Events = difference(d.known.revisions(), kvs, revision)[:0]"}},
		},
		{
			name:   "resync-without-deletions",
			what:   "a resync leaves out the keys that are gone",
			checks: []watchlab.Check{watchlab.Resyncs, watchlab.Snapshots},
			edits:  []edit{{"load.go", "for key := range old {", "clear(old)\n\tfor key := range old {"}},
		},
		{
			name:   "event-twice",
			what:   "events that a reopened watch repeats are delivered twice",
			checks: []watchlab.Check{watchlab.Events, watchlab.Revisions},
			edits: []edit{
				{"receive.go", "Events: after(resp.Events, f.position)}", "Events: resp.Events}"},
				{"receive.go", "case b.Revision <= f.position:", "case b.Revision <= f.position && len(b.Events) == 0:"},
			},
		},
		{
			name:   "snapshot-overlap",
			what:   "what a snapshot shows is delivered again by the watch that was opened before it",
			checks: []watchlab.Check{watchlab.Events, watchlab.Revisions},
			edits:  []edit{{"stream.go", "d.buffer.skip(revision, gap.epoch)", "_ = gap.epoch"}},
		},
		{
			name:   "batch-divided",
			what:   "a batch ends in the middle of a revision",
			checks: []watchlab.Check{watchlab.Events, watchlab.Revisions},
			edits: []edit{{
				"receive.go",
				"if !f.buffer.put(item{Batch: b}) {",
				`if n := len(b.Events) / 2; n > 0 {
		f.buffer.put(item{Batch: Batch{Revision: b.Events[n-1].Kv.ModRevision, Events: b.Events[:n]}})
		b.Events = b.Events[n:]
	}
	if !f.buffer.put(item{Batch: b}) {`,
			}},
		},
		{
			name:   "wait-too-short",
			what:   "WaitRevision returns one revision too early",
			checks: []watchlab.Check{watchlab.Early},
			edits:  []edit{{"cache_wait.go", "c.revision >= rev,", "c.revision >= rev-1,"}},
		},
		{
			name:   "wait-without-asking",
			what:   "nobody asks the server for its revision, so WaitRevision hangs where nothing changes",
			checks: []watchlab.Check{watchlab.Stuck},
			edits:  []edit{{"leg.go", "_ = w.line.RequestProgress(ask)", "_ = ask"}},
		},
		{
			name:   "slow-off-by-one",
			what:   "a stream goes on one revision too late after a slow consumer",
			checks: []watchlab.Check{watchlab.Events, watchlab.Snapshots, watchlab.Errors},
			edits:  []edit{{"follow.go", "f.buffer.awaitRoom(ctx)\n", "f.buffer.awaitRoom(ctx)\n\t\tf.position++\n"}},
		},
		{
			name:   "pages-of-different-revisions",
			what:   "the pages of a snapshot are read at different revisions",
			checks: []watchlab.Check{watchlab.Snapshots, watchlab.Resyncs, watchlab.Events},
			edits:  []edit{{"load.go", "append(opts, clientv3.WithLimit(limit), clientv3.WithRev(header.GetRevision())))", "append(opts, clientv3.WithLimit(limit)))"}},
		},
		{
			name:   "conflation-loses-deletions",
			what:   "a conflating stream does not tell a slow consumer of deletions",
			checks: []watchlab.Check{watchlab.Events},
			edits: []edit{{
				"item.go",
				"\t\tit.replace(ev)\n",
				"\t\tif len(it.Events) > 0 && ev.Type == clientv3.EventTypeDelete {\n\t\t\tcontinue\n\t\t}\n\t\tit.replace(ev)\n",
			}},
		},
		{
			name:   "changes-forgotten",
			what:   "a slow consumer of changes is not told of a change that a newer one of another key has pushed out",
			checks: []watchlab.Check{watchlab.Stuck, watchlab.Changes},
			edits:  []edit{{"cache_history.go", "\tr.read = now\n\treturn due, false", "\tr.read = now + 1\n\treturn due, false"}},
		},
		{
			name:   "reconcile-not-again",
			what:   "a key that changes while it is reconciled is not reconciled again",
			checks: []watchlab.Check{watchlab.Stuck},
			edits:  []edit{{"reconcile_queue.go", "t.again = true", "t.again = false"}},
		},
		{
			name:   "after-the-error",
			what:   "a stream delivers something after its error",
			checks: []watchlab.Check{watchlab.After},
			edits:  []edit{{"stream.go", "yield(Batch{}, ended)\n", "if yield(Batch{}, ended) {\n\t\t\t\t\tyield(b, nil)\n\t\t\t\t}\n"}},
		},
		{
			name:   "silence-believed",
			what:   "a silent member is never abandoned",
			checks: []watchlab.Check{watchlab.Stuck},
			edits:  []edit{{"receive.go", "err = r.giveUp()", "r.silent.Reset(r.f.quiet)"}},
		},
		{
			name:   "stream-left",
			what:   "the gRPC stream of a watch is not closed when its consumer has left",
			checks: []watchlab.Check{watchlab.Watches, watchlab.Routines},
			edits:  []edit{{"leg.go", "w.cancel()\n\tw.line.leave()", "_ = w"}},
		},
	}
}
