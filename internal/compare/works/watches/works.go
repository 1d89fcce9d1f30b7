package watches

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/compare/perf"
)

const (
	// valueSize is the size of all values in bytes.
	valueSize = 100
	// inFlight is how many transactions a writer sends before the first is answered.
	inFlight = 16
	// perTxn is how many keys it puts in one.
	perTxn = 100
	// removal bounds the removal of keys at the end.
	removal = 10 * time.Second
)

// Works returns the works.
func Works() []perf.Work {
	all := []perf.Work{events(), latency(), load(10_000), load(100_000), get(), memory()}
	for i, w := range all {
		all[i].Begin = func(ctx context.Context, on *perf.Env) ([]perf.Side, func() error, error) {
			sides, end, err := w.Begin(ctx, on)
			return sides, func() error {
				if end == nil {
					end = nothing
				}
				return errors.Join(end(), remove(context.WithoutCancel(ctx), on))
			}, err
		}
	}
	return all
}

// remove removes what works have put.
func remove(ctx context.Context, on *perf.Env) error {
	ctx, cancel := context.WithTimeout(ctx, removal)
	defer cancel()
	client, err := on.Client(ctx)
	if err != nil {
		return err
	}
	_, err = client.Delete(ctx, prefixes, clientv3.WithPrefix())
	return err
}

// prefixes is what all prefixes begin with.
const prefixes = "watches-"

// prefix returns a prefix that nothing else uses.
func prefix(work string) string { return fmt.Sprintf("%s%s-%08x/", prefixes, work, rand.Uint32()) }

func value() string { return strings.Repeat("v", valueSize) }

// names are n keys as services have them.
func names(prefix string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("%sservices/%06d/config", prefix, i)
	}
	return all
}

// fill puts the keys.
func fill(ctx context.Context, client *clientv3.Client, keys []string) error {
	txns := (len(keys) + perTxn - 1) / perTxn
	return pipeline(ctx, txns, func(ctx context.Context, i int) error {
		var ops []clientv3.Op
		for _, key := range keys[i*perTxn : min((i+1)*perTxn, len(keys))] {
			ops = append(ops, clientv3.OpPut(key, value()))
		}
		_, err := client.Txn(ctx).Then(ops...).Commit()
		return err
	})
}

// pipeline calls send with each number below n, several at a time.
func pipeline(ctx context.Context, n int, send func(ctx context.Context, i int) error) error {
	var wg sync.WaitGroup
	errs := make([]error, inFlight)
	for w := range inFlight {
		wg.Go(func() {
			for i := w; i < n && errs[w] == nil; i += inFlight {
				errs[w] = send(ctx, i)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// clients returns n clients.
func clients(ctx context.Context, on *perf.Env, n int) ([]*clientv3.Client, error) {
	all := make([]*clientv3.Client, n)
	for i := range all {
		var err error
		if all[i], err = on.Client(ctx); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func nothing() error { return nil }
