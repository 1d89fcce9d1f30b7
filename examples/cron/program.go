package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

const (
	lockName  = "cron/lock/"   // and the job: its lock
	stateKey  = "cron/state/"  // and the job: its latest run, finished or not
	resultKey = "cron/result/" // and the job and the time: a run that is finished
)

// page is a piece of a run, and who wrote it.
type page struct {
	Worker string
	Token  lock.Token
}

// record is one run of a job, as it is kept in etcd.
type record struct {
	Slot   time.Time // for which the job was due
	Missed int       // earlier times since the last run that were missed
	Pages  []page
	Done   bool
}

// cronMain would be main in your copy: it takes turns at all jobs until SIGTERM or Ctrl-C.
func cronMain(ctx context.Context, args []string) error {
	host, _ := os.Hostname()
	fs := flag.NewFlagSet("cron", flag.ExitOnError)
	endpoints := fs.String("endpoints", os.Getenv("ETCDCTL_ENDPOINTS"), "etcd's client `addresses`, separated by commas")
	ttl := fs.Duration("ttl", lease.DefaultTTL, "TTL of the lease: how long an interrupted run waits after a crash")
	name := fs.String("name", host, "`name` that pages are signed with")
	_ = fs.Parse(args) // it exits if it fails
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	client, err := clientv3.New(clientv3.Config{
		Endpoints: strings.Split(*endpoints, ","), DialKeepAliveTime: 10 * time.Second, DialKeepAliveTimeout: 5 * time.Second,
	})
	if err != nil {
		return err
	}
	defer client.Close()
	start, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	session, err := lease.NewSession(start, client, lease.WithTTL(*ttl), lease.WithLogger(slog.Default()))
	if err != nil {
		return err
	}
	defer session.Close(ctx) // with a ctx that is done, too: the next has the locks at once
	slog.Info("started", "name", *name)
	all, running := errgroup.WithContext(ctx) // the first that fails ends all
	for _, j := range jobs() {
		w := &worker{name: *name, client: client, job: j}
		all.Go(func() error { return w.keep(running, session) })
	}
	return all.Wait()
}

// worker is one process's part in a job.
type worker struct {
	name   string
	client *clientv3.Client
	job    job
}

// keep takes turns at a job with the other processes, until ctx ends. When the job is due by a
// process's own clock, the first to get the lock runs it; the others wait, find nothing to do,
// and would resume it if the first died.
func (w *worker) keep(ctx context.Context, session *lease.Session) error {
	mutex, err := lock.NewMutex(session, lockName+w.job.name)
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		next := time.Now().Add(time.Second) // if the turn fails
		// The ignored context ends with the lock; use it if your work can be cancelled. This stands
		// in for work that cannot: the guard alone keeps it from doing harm.
		err := mutex.Do(ctx, func(_ context.Context, h *lock.Hold) error { return w.turn(ctx, h, &next) })
		if err != nil && ctx.Err() == nil {
			// Another has the run by now, or a reply was lost: the next turn begins with what etcd has.
			slog.Warn("to be tried again", "job", w.job.name, "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Until(next)):
		}
	}
	return nil
}

// turn runs the job if it is due, and computes the next time.
func (w *worker) turn(ctx context.Context, h *lock.Hold, next *time.Time) error {
	rec := record{Slot: time.Now().UTC(), Done: true} // a new job is due from now on
	resp, err := w.client.Get(ctx, stateKey+w.job.name)
	switch {
	case err != nil:
	case len(resp.Kvs) == 0:
		err = w.store(ctx, h, rec)
	default:
		err = json.Unmarshal(resp.Kvs[0].Value, &rec)
	}
	if err != nil {
		return err
	}
	if slot, missed := w.job.due(rec.Slot, time.Now().UTC()); rec.Done && !slot.IsZero() {
		rec = record{Slot: slot, Missed: missed}
	}
	for !rec.Done { // begun by another, perhaps
		<-time.After(100 * time.Millisecond) // your work goes here
		rec.Pages = append(rec.Pages, page{w.name, h.Token()})
		rec.Done = len(rec.Pages) == w.job.pages
		if err := w.store(ctx, h, rec); err != nil {
			return fmt.Errorf("page %d: %w", len(rec.Pages), err)
		}
		slog.Info("stored", "job", w.job.name, "page", len(rec.Pages))
	}
	*next = w.job.schedule.Next(rec.Slot)
	return nil
}

// store writes a run under the lock: neither key changes if the lock is lost. The result is
// written with the last page.
func (w *worker) store(ctx context.Context, h *lock.Hold, rec record) error {
	value, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	puts := []clientv3.Op{clientv3.OpPut(stateKey+w.job.name, string(value))}
	if rec.Done && len(rec.Pages) > 0 {
		puts = append(puts, clientv3.OpPut(resultKey+w.job.name+"/"+rec.Slot.Format(time.RFC3339), string(value)))
	}
	_, err = h.Txn(ctx).Then(puts...).Commit()
	return err
}
