package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

// optimisticMain would be main in your copy: it adds to numbers in etcd for a while, and logs
// how that went.
func optimisticMain(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("optimistic", flag.ExitOnError)
	endpoints := fs.String("endpoints", os.Getenv("ETCDCTL_ENDPOINTS"), "etcd's client `addresses`, separated by commas")
	ttl := fs.Duration("ttl", lease.DefaultTTL, "TTL of the lease: after a crash a lock stays taken for this long")
	prefix := fs.String("prefix", "optimistic/", "prefix of the numbers' `keys`")
	numbers := fs.Int("numbers", 1, "`how many` numbers to choose from")
	workers := fs.Int("workers", 1, "`how many` workers add at the same time")
	work := fs.Duration("work", 0, "simulated work between read and write")
	duration := fs.Duration("duration", 10*time.Second, "how long to run")
	locked := fs.Bool("lock", false, "add under a lock, not by swapping")
	_ = fs.Parse(args) // it exits if it fails
	if *numbers < 1 || *workers < 1 || *duration <= 0 {
		return fmt.Errorf("-numbers %d, -workers %d and -duration %s: all must be positive", *numbers, *workers, *duration)
	}
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
	defer session.Close(ctx)
	ways := make([]func(context.Context) (int, error), *numbers) // to add to each
	for i := range ways {
		n := number{client: client, key: fmt.Sprintf("%s%d", *prefix, i), work: *work}
		mutex, err := lock.NewMutex(session, n.key+".lock")
		if err != nil {
			return err
		}
		if ways[i] = n.swap; *locked {
			ways[i] = func(ctx context.Context) (int, error) { return 1, n.addLocked(ctx, mutex) }
		}
	}
	if err = addAll(ctx, ways, *workers, *duration); err != nil { // also if it was told to end before that
		return fmt.Errorf("not measured: %w", err)
	}
	return nil
}

// addAll has workers add for a while, to numbers that they choose at random.
func addAll(ctx context.Context, ways []func(context.Context) (int, error), workers int, duration time.Duration) error {
	var mu sync.Mutex // protects took and tries
	var took []time.Duration
	var tries int
	began := time.Now()
	all, ctx := errgroup.WithContext(ctx)
	for range workers {
		all.Go(func() error {
			for start := began; start.Sub(began) < duration; start = time.Now() {
				n, err := ways[rand.IntN(len(ways))](ctx)
				if err != nil {
					return err
				}
				mu.Lock()
				took, tries = append(took, time.Since(start)), tries+n
				mu.Unlock()
			}
			return nil
		})
	}
	if err := all.Wait(); err != nil {
		return err
	}
	slices.Sort(took)
	slog.Info("added", "additions", len(took), "tries", tries, "elapsed", time.Since(began), "p99", took[len(took)*99/100])
	return nil
}
