package chaos

import (
	"context"
	"fmt"
	"path"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/chaos/history"
	"github.com/conclave-go/conclave/internal/chaos/worker"
	"github.com/conclave-go/conclave/internal/process"
	"github.com/conclave-go/conclave/internal/spec"
)

// folder is what all keys of the trial begin with.
func (t *trial) folder() string { return path.Dir(t.Lock) + "/" }

// endKey is the last that is written: who has seen it has seen all.
func (t *trial) endKey() string { return t.folder() + "end" }

// watch lets etcd's own history of the trial's keys go to the log.
func (t *trial) watch(ctx context.Context) error {
	watching, stop := context.WithCancel(context.WithoutCancel(ctx))
	t.stopWatch = stop
	events := t.etcd.Client().Watch(clientv3.WithRequireLeader(watching), t.folder(), clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	select {
	case resp := <-events:
		if err := resp.Err(); err != nil {
			return fmt.Errorf("watching %s: %w", t.folder(), err)
		}
		t.history = spec.History{Known: true, Revision: resp.Header.Revision}
		t.watching.Go(func() { t.follow(watching, events, resp.Header.Revision) })
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// follow passes events on until ctx ends. A watch that is canceled, as by the loss of the
// leader, is opened again where it ended.
func (t *trial) follow(ctx context.Context, events clientv3.WatchChan, seen int64) {
	for {
		for resp := range events {
			if resp.CompactRevision > seen+1 {
				t.note(history.Event{Kind: history.Gap, Detail: fmt.Sprintf("compacted at %d after %d", resp.CompactRevision, seen)})
				seen = resp.CompactRevision - 1
				t.history.Known = false
			}
			for _, e := range resp.Events {
				seen = e.Kv.ModRevision
				t.history.Add(e)
				t.learn(e)
			}
		}
		if ctx.Err() != nil {
			return
		}
		events = t.etcd.Client().Watch(clientv3.WithRequireLeader(ctx), t.folder(), clientv3.WithPrefix(), clientv3.WithRev(seen+1))
	}
}

// learn notes what happened to a key.
func (t *trial) learn(e *clientv3.Event) {
	note := history.Event{At: process.Now(), Key: string(e.Kv.Key), Revision: e.Kv.ModRevision}
	if note.Lock = t.lockOf(note.Key); note.Lock == "" {
		return
	}
	switch {
	case e.Type == clientv3.EventTypeDelete:
		note.Kind = history.Gone
	case note.Key == worker.RegisterKey(note.Lock), note.Key == worker.PlainKey(note.Lock):
		s, err := worker.ParseStamp(string(e.Kv.Value))
		note.Kind, note.Hold, note.Token, note.Value, note.Found = history.Stored, s.Hold, s.Token, s.Value, s.Found
		if err != nil {
			note.Kind, note.Detail = history.Broken, err.Error()
		}
		note.Worker, _, _ = strings.Cut(s.Hold, "-")
		note.Way = history.Txn
		if note.Key == worker.PlainKey(t.Lock) {
			note.Way = history.Plain
		}
	case e.IsCreate() && (isEntry(e) || note.Key == t.endKey()):
		note.Kind = history.Entry
	default:
		return
	}
	t.note(note)
}

// lockOf returns the lock that a key is about, "" if none.
func (t *trial) lockOf(key string) string {
	if len(t.locks) == 1 || key == t.endKey() {
		return t.locks[0]
	}
	for _, name := range t.locks {
		if key == worker.RegisterKey(name) || strings.HasPrefix(key, name+"/") {
			return name
		}
	}
	return ""
}

// isEntry reports whether a key with a lease stands in a queue: the mark of a lock delay
// does not.
func isEntry(e *clientv3.Event) bool {
	return e.Kv.Lease != 0 && !strings.Contains(string(e.Kv.Key), "/~delay/")
}

// catchUp returns when the log has all that etcd has.
func (t *trial) catchUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, hang, fmt.Errorf("no end of etcd's history within %s", hang))
	defer cancel()
	mark := t.log.Mark()
	if _, err := t.etcd.Client().Put(ctx, t.endKey(), ""); err != nil {
		return err
	}
	_, err := t.log.Await(ctx, mark, func(e history.Event) bool { return e.Kind == history.Entry && e.Key == t.endKey() })
	return err
}
