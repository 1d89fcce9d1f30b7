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

// page is a piece of a run, and who has written it.
type page struct {
	Worker string
	Token  lock.Token
}

// record is what etcd has of one run of a job.
type record struct {
	Slot   time.Time // for which the job was due
	Missed int       // times before that, since the last run, that nothing was done for
	Pages  []page
	Done   bool
}

// cronMain is what main would be in a copy: it takes turns at all jobs until SIGTERM or Ctrl-C.
func cronMain(ctx context.Context, args []string) error {
	host, _ := os.Hostname()
	fs := flag.NewFlagSet("cron", flag.ExitOnError)
	endpoints := fs.String("endpoints", os.Getenv("ETCDCTL_ENDPOINTS"), "etcd's client `addresses`, separated by commas")
	ttl := fs.Duration("ttl", lease.DefaultTTL, "TTL of the lease: after a crash a run rests for as long")
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

// keep takes turns at a job with the other processes, until ctx ends. When its time is up,
// by each one's own clock, who comes first does the run; the others queue for the lock, find
// nothing left to do, and would be the ones to resume it.
func (w *worker) keep(ctx context.Context, session *lease.Session) error {
	mutex, err := lock.NewMutex(session, lockName+w.job.name)
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		next := time.Now().Add(time.Second) // if this fails
		// The context that is left out ends with the lock: for work that can be stopped. This work
		// stands for what cannot, and the guard alone keeps it from doing harm.
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

// turn does what is due of the job, and finds out when it is due next.
func (w *worker) turn(ctx context.Context, h *lock.Hold, next *time.Time) error {
	rec := record{Slot: time.Now().UTC(), Done: true} // a job that is new is due from now on
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
		<-time.After(100 * time.Millisecond) // in place of work of yours
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

// store writes a run under the lock: neither key changes if that is lost. The result comes to
// be together with the last page.
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
