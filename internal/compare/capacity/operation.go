package capacity

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/conclave-go/conclave/lease"
)

// operation is something that is done again and again.
type operation struct {
	name string
	// begin returns what does it once.
	begin func(ctx context.Context, r *rig, s *lease.Session) (do func(context.Context) error, err error)
}

// commit is more than etcd takes between two commits of its store, at which it counts
// pages.
const commit = 250 * time.Millisecond

// What an operation costs.
const (
	OpRequests  = "requests"
	OpTraffic   = "traffic"
	OpRevisions = "revisions"
	OpEntries   = "log entries"
	OpWAL       = "WAL"
	OpStore     = "store until compaction"
	OpServerCPU = "server CPU"
	OpTime      = "time, median"
)

// operationRows measures all operations on one server, and then what compaction and
// defragmentation make of the history that they leave.
func operationRows(ctx context.Context, cfg Config) (rows []Row, err error) {
	r, err := start(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.close(ctx)) }()
	for _, op := range operations() {
		cfg.tell("operation: %s", op.name)
		costs, err := op.rows(ctx, r)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", op.name, err)
		}
		rows = append(rows, costs...)
	}
	if err := r.closeSessions(ctx); err != nil {
		return nil, err
	}
	history, err := r.history(ctx)
	return append(rows, history...), err
}

// rows does the operation and divides what that cost.
func (op operation) rows(ctx context.Context, r *rig) ([]Row, error) {
	s, err := r.ownSession(ctx, noticed())
	if err != nil {
		return nil, err
	}
	do, err := op.begin(ctx, r, s)
	if err != nil {
		return nil, err
	}
	if err := do(ctx); err != nil { // connections and caches are there from now on
		return nil, err
	}
	before, err := r.committed(ctx)
	if err != nil {
		return nil, err
	}
	took := make([]time.Duration, r.cfg.Operations)
	for i := range took {
		begun := time.Now()
		if err := do(ctx); err != nil {
			return nil, err
		}
		took[i] = time.Since(begun)
	}
	after, err := r.committed(ctx)
	if err != nil {
		return nil, err
	}
	n := float64(len(took))
	row := func(quantity, unit string, value float64) Row {
		return Row{Operations, op.name, len(took), quantity, unit, value}
	}
	return []Row{
		row(OpRequests, "", (after.requests-before.requests)/n),
		row(OpTraffic, "B", (after.traffic-before.traffic)/n),
		row(OpRevisions, "", (after.revision-before.revision)/n),
		row(OpEntries, "", (after.entries-before.entries)/n),
		row(OpWAL, "B", (after.wal-before.wal)/n),
		row(OpStore, "B", (after.store-before.store)/n),
		row(OpServerCPU, "ms", milli*(after.cpu-before.cpu)/n),
		row(OpTime, "ms", milliseconds(percentile(took, 50))),
	}, nil
}

// committed takes a sample when all that was written is in the store's file.
func (r *rig) committed(ctx context.Context) (sample, error) {
	if err := pause(ctx, commit); err != nil {
		return sample{}, err
	}
	return r.take(ctx)
}

// The sizes of the store's file, and of what of it is in use.
const (
	FileSize = "file"
	InUse    = "in use"
	Took     = "took"
)

// history says how large the store is with the history it has, without it, and
// defragmented, and how long that took.
func (r *rig) history(ctx context.Context) ([]Row, error) {
	var rows []Row
	steps := []struct {
		name string
		do   func(context.Context) error
	}{
		{"with history", func(context.Context) error { return nil }},
		{"compacted", r.compact},
		{"defragmented", func(ctx context.Context) error {
			_, err := r.etcd.Client().Defragment(ctx, r.etcd.Endpoints()[0])
			return err
		}},
	}
	for _, s := range steps {
		begun := time.Now()
		if err := s.do(ctx); err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
		took := time.Since(begun)
		if err := pause(ctx, commit); err != nil {
			return nil, err
		}
		status, err := r.etcd.Client().Status(ctx, r.etcd.Endpoints()[0])
		if err != nil {
			return nil, err
		}
		row := func(quantity, unit string, value float64) {
			rows = append(rows, Row{History, s.name, int(status.Header.Revision), quantity, unit, value})
		}
		row(FileSize, "B", float64(status.DbSize))
		row(InUse, "B", float64(status.DbSizeInUse))
		row(Took, "ms", milliseconds(took))
	}
	return rows, nil
}
