package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
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
	pageTime  = 100 * time.Millisecond
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

// errTwice is that a run has a result already. The lock is there to prevent it.
var errTwice = errors.New("the run has taken place already")

// cronMain is what main would be in a copy: it takes turns at all jobs until SIGTERM or
// Ctrl-C.
func cronMain(ctx context.Context, args []string) error {
	host, _ := os.Hostname()
	fs := flag.NewFlagSet("cron", flag.ExitOnError)
	endpoints := fs.String("endpoints", os.Getenv("ETCDCTL_ENDPOINTS"), "etcd's client `addresses`, separated by commas")
	ttl := fs.Duration("ttl", lease.DefaultTTL, "TTL of the lease: after a crash a run rests for as long")
	name := fs.String("name", host, "`name` that pages are signed with")
	_ = fs.Parse(args) // it exits if it fails
	report, err := newJob("report", "* * * * * *", 4)
	if err != nil {
		return err
	}
	mail, err := newJob("mail", "*/2 * * * * *", 1)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	client, err := clientv3.New(clientv3.Config{Endpoints: strings.Split(*endpoints, ","), DialKeepAliveTime: 10 * time.Second, DialKeepAliveTimeout: 5 * time.Second})
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
	for _, j := range []job{report, mail} {
		w := &worker{name: *name, client: client, job: j}
		all.Go(func() error { return w.keep(running, session) })
	}
	if err = all.Wait(); ctx.Err() != nil {
		return nil // told to end, and it has
	}
	return err
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
	for {
		var next time.Time
		err := mutex.Do(ctx, func(_ context.Context, h *lock.Hold) (err error) {
			// The context that is left out ends with the lock; work that can be stopped takes it.
			// This work stands for what cannot: the guard alone keeps it from doing harm.
			next, err = w.turn(ctx, h)
			return err
		})
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, errTwice):
			return err
		case err != nil:
			// Another has the run by now, or a reply was lost, and the page is stored or not: the
			// next turn begins with what etcd has.
			slog.Warn("to be tried again", "job", w.job.name, "error", err)
			next = time.Now().Add(time.Second)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Until(next)):
		}
	}
}

// turn does what is due of the job, and returns when it is due again.
func (w *worker) turn(ctx context.Context, h *lock.Hold) (time.Time, error) {
	var rec record
	resp, err := w.client.Get(ctx, stateKey+w.job.name)
	switch {
	case err != nil:
		return time.Time{}, err
	case len(resp.Kvs) == 0: // the job is new: it is due from now on
		rec = record{Slot: time.Now().UTC(), Done: true}
		return w.job.schedule.Next(rec.Slot), w.store(ctx, h, rec)
	}
	if err := json.Unmarshal(resp.Kvs[0].Value, &rec); err != nil {
		return time.Time{}, err
	}
	if rec.Done {
		slot, missed := w.job.due(rec.Slot, time.Now().UTC())
		if slot.IsZero() {
			return w.job.schedule.Next(rec.Slot), nil
		}
		rec = record{Slot: slot, Missed: missed}
	}
	for !rec.Done { // begun by another, perhaps
		select {
		case <-time.After(pageTime): // in place of work of yours
		case <-ctx.Done():
			return time.Time{}, ctx.Err()
		}
		rec.Pages = append(rec.Pages, page{w.name, h.Token()})
		rec.Done = len(rec.Pages) == w.job.pages
		if err := w.store(ctx, h, rec); err != nil {
			slog.Warn("not stored", "job", w.job.name, "page", len(rec.Pages), "error", err)
			return time.Time{}, err
		}
		slog.Info("stored", "job", w.job.name, "page", len(rec.Pages))
	}
	return w.job.schedule.Next(rec.Slot), nil
}

// store writes a run under the lock: neither key changes if that is lost. The result comes to
// be together with the last page.
func (w *worker) store(ctx context.Context, h *lock.Hold, rec record) error {
	value, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	txn, ops := h.Txn(ctx), []clientv3.Op{clientv3.OpPut(stateKey+w.job.name, string(value))}
	if rec.Done && len(rec.Pages) > 0 {
		result := resultKey + w.job.name + "/" + rec.Slot.Format(time.RFC3339)
		txn = txn.If(clientv3.Compare(clientv3.CreateRevision(result), "=", 0))
		ops = append(ops, clientv3.OpPut(result, string(value)))
	}
	resp, err := txn.Then(ops...).Commit()
	if err == nil && !resp.Succeeded {
		err = errTwice
	}
	return err
}
