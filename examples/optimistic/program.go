package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

// optimisticMain is what main would be in a copy: it adds to numbers in etcd for a while, and
// logs how that went.
func optimisticMain(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("optimistic", flag.ExitOnError)
	endpoints := fs.String("endpoints", os.Getenv("ETCDCTL_ENDPOINTS"), "etcd's client `addresses`, separated by commas")
	ttl := fs.Duration("ttl", lease.DefaultTTL, "TTL of the lease: after a crash a lock is taken for as long")
	prefix := fs.String("prefix", "optimistic/", "prefix of the numbers' `keys`")
	numbers := fs.Int("numbers", 1, "`how many` there are to choose from")
	workers := fs.Int("workers", 1, "`how many` add at a time")
	work := fs.Duration("work", 0, "how long it takes to work out what to write")
	duration := fs.Duration("duration", 10*time.Second, "for how long")
	locked := fs.Bool("lock", false, "add under a lock, not by swapping")
	_ = fs.Parse(args) // it exits if it fails
	if *numbers < 1 || *workers < 1 || *duration <= 0 {
		return errors.New("-numbers, -workers and -duration must be positive")
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
	if err = addAll(ctx, ways, *workers, *duration); ctx.Err() != nil {
		return nil // told to end, and it has
	}
	return err
}

// number is one in etcd that many add to. A key that is not there is 0.
type number struct {
	client *clientv3.Client
	key    string
	work   time.Duration // between a read and the write that follows from it
}

// swap adds one without a lock, and says how often it tried. It takes two round trips, and
// for each conflict one more: a refused transaction brings the number that refused it. Each
// is a write for etcd, also when it is refused.
//
// An error is not a conflict: the write may have happened, so trying again might add one
// twice. Who has to try again needs a mark of its own in the value.
func (n *number) swap(ctx context.Context) (tries int, err error) {
	resp, err := n.client.Get(ctx, n.key)
	if err != nil {
		return 0, err
	}
	return n.swapFrom(ctx, resp.Kvs)
}

func (n *number) swapFrom(ctx context.Context, read []*mvccpb.KeyValue) (tries int, err error) {
	for tries = 1; ; tries++ {
		put, revision, err := n.next(ctx, read)
		if err != nil {
			return tries, err
		}
		// The revision stands for the value: the same number twice, with another between, has two.
		unchanged := clientv3.Compare(clientv3.ModRevision(n.key), "=", revision)
		resp, err := n.client.Txn(ctx).If(unchanged).Then(put).Else(clientv3.OpGet(n.key)).Commit()
		if err != nil || resp.Succeeded {
			return tries, err
		}
		read = resp.Responses[0].GetResponseRange().Kvs
	}
}

// addLocked adds one under a lock, in four round trips if nobody else has it. The transaction
// is refused should the lock be lost meanwhile, so that even then no change is undone.
func (n *number) addLocked(ctx context.Context, m *lock.Mutex) error {
	return m.Do(ctx, func(ctx context.Context, h *lock.Hold) error {
		resp, err := n.client.Get(ctx, n.key)
		if err != nil {
			return err
		}
		put, _, err := n.next(ctx, resp.Kvs)
		if err != nil {
			return err
		}
		_, err = h.Txn(ctx).Then(put).Commit()
		return err
	})
}

// next works out the write that follows from what was read at a revision.
func (n *number) next(ctx context.Context, read []*mvccpb.KeyValue) (put clientv3.Op, revision int64, err error) {
	value := 0
	if len(read) > 0 {
		revision = read[0].ModRevision
		if value, err = strconv.Atoi(string(read[0].Value)); err != nil {
			return put, 0, fmt.Errorf("%s: %w", n.key, err)
		}
	}
	select {
	case <-time.After(n.work): // in place of work of yours
	case <-ctx.Done():
		return put, 0, context.Cause(ctx)
	}
	return clientv3.OpPut(n.key, strconv.Itoa(value+1)), revision, nil
}

// addAll has several add for a while, to numbers that they choose at random.
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
