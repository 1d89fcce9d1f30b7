package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

// seller sells bolts under a lock, from a table that every seller writes to.
type seller struct {
	stock    *stock
	sell     int64
	approval string
}

// fencingMain would be main in your copy, which also imports a driver named "sqlite": it sells
// once.
func fencingMain(ctx context.Context, args []string) error {
	var s seller
	fs := flag.NewFlagSet("fencing", flag.ExitOnError)
	endpoints := fs.String("endpoints", os.Getenv("ETCDCTL_ENDPOINTS"), "etcd's client `addresses`, separated by commas")
	ttl := fs.Duration("ttl", lease.DefaultTTL, "TTL of the lease: after a crash nobody sells for this long")
	file := fs.String("db", "stock.db", "`file` of the database")
	trusting := fs.Bool("unguarded", false, "leave out the condition on the token, and trust in the lock alone")
	fs.Int64Var(&s.sell, "sell", 1, "`how many` bolts to sell")
	fs.StringVar(&s.approval, "approval", "", "`URL` that must answer 200 before a sale (default: no approval needed)")
	_ = fs.Parse(args) // it exits if it fails
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	db, err := sql.Open("sqlite", *file+"?_pragma=busy_timeout(5000)") // ms
	if err != nil {
		return err
	}
	defer db.Close()
	if s.stock = guarded(db); *trusting {
		s.stock = unguarded(db)
	}
	if s.sell < 1 {
		return fmt.Errorf("-sell %d: must be positive", s.sell)
	}
	if err := s.stock.create(ctx); err != nil {
		return err
	}
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
	defer session.Close(ctx) // with a ctx that is done, too: the next has the lock at once
	mutex, err := lock.NewMutex(session, "fencing/stock")
	if err != nil {
		return err
	}
	if err = s.run(ctx, mutex); err != nil { // also if it was told to end before that
		return fmt.Errorf("no sale was confirmed: %w", err)
	}
	return nil
}

// run tries until the table accepts. After a refusal it takes the lock again and looks again:
// what it knew is out of date.
func (s *seller) run(ctx context.Context, m *lock.Mutex) error {
	for {
		h, err := m.Lock(ctx)
		if err != nil {
			return err
		}
		err = s.once(ctx, h)
		slog.Info("unlocked", "error", h.Unlock(ctx)) // a sale that the table accepted counts even so
		if _, stale := errors.AsType[*lock.StaleTokenError](err); !stale {
			return err
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
}

// once looks, and writes what is left after a sale.
func (s *seller) once(ctx context.Context, h *lock.Hold) error {
	amount, err := s.stock.look(ctx, h.Token())
	if err != nil {
		return err
	}
	slog.Info("looked", "token", h.Token(), "amount", amount)
	// Real work runs under h.With(ctx), which stops most late writes on this side. This stands in
	// for those that it cannot stop, because they are already on their way.
	if err := s.approved(ctx); err != nil {
		return err
	}
	err = s.stock.set(ctx, h.Token(), amount-s.sell)
	slog.Info("wrote", "token", h.Token(), "amount", amount-s.sell, "error", err)
	return err
}

// approved asks another service, which may be slow.
func (s *seller) approved(ctx context.Context) error {
	if s.approval == "" {
		return nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.approval, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("no approval: %s", resp.Status)
	}
	return nil
}
