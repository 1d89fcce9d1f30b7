package transactions

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/compare/perf"
)

const (
	accounts = 10 // of a side
	deposit  = 1_000
	cleanUp  = 10 * time.Second
)

// errLost means that transactions did not exclude one another.
var errLost = errors.New("money was lost or made")

// Works returns the works.
func Works() []perf.Work {
	return []perf.Work{
		conflict(1, 3, "one client moves money between ten accounts"),
		conflict(2, 0, "two clients move money between the same ten accounts"),
		conflict(16, 1, "16 clients move money between the same ten accounts"),
	}
}

// conflict lets n clients make transactions of the same few keys.
func conflict(n, quick int, title string) perf.Work {
	name := fmt.Sprintf("stm/%d", n)
	return perf.Work{
		Name: name, Title: title, On: perf.EtcdFast,
		Metrics: []perf.Metric{{Name: "throughput", Unit: "1/s", Stats: []perf.Stat{perf.P50}, More: true}},
		Rounds:  10, Quick: quick,
		Begin: func(ctx context.Context, on *perf.Env) ([]perf.Side, func() error, error) {
			return begin(ctx, on, name, n)
		},
	}
}

// mover moves a unit from one key to another.
type mover func(ctx context.Context, client *clientv3.Client, from, to string) error

// bank is the accounts of a side, and the clients that use them.
type bank struct {
	clients []*clientv3.Client
	prefix  string
	move    mover
	safe    bool // no money is lost
}

func begin(ctx context.Context, on *perf.Env, name string, n int) ([]perf.Side, func() error, error) {
	var sides []perf.Side
	var banks []*bank
	end := func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUp)
		defer cancel()
		var errs []error
		for _, b := range banks {
			errs = append(errs, b.close(ctx))
		}
		return errors.Join(errs...)
	}
	for _, s := range []struct {
		name, lacks string
		move        mover
	}{
		{perf.Ours, "", moveOurs},
		{"clientv3/concurrency", "no ranges", moveOfficial},
		{"raw", "loses money", moveRaw},
	} {
		b := &bank{prefix: fmt.Sprintf("%s/%s/", name, s.name), move: s.move, safe: s.name != "raw"}
		banks = append(banks, b)
		if err := b.open(ctx, on, n); err != nil {
			return nil, nil, errors.Join(err, end())
		}
		sides = append(sides, perf.Side{Name: s.name, Lacks: s.lacks, Round: func(ctx context.Context) (perf.Samples, error) {
			perSecond, err := b.round(ctx, 400/n)
			return perf.Samples{"throughput": {perSecond}}, err
		}})
	}
	return sides, end, nil
}

func (b *bank) open(ctx context.Context, on *perf.Env, n int) error {
	for range n {
		client, err := on.Client(ctx)
		if err != nil {
			return err
		}
		b.clients = append(b.clients, client)
	}
	for i := range accounts {
		if _, err := b.clients[0].Put(ctx, b.account(i), strconv.Itoa(deposit)); err != nil {
			return err
		}
	}
	return nil
}

func (b *bank) close(ctx context.Context) error {
	if len(b.clients) == 0 {
		return nil
	}
	_, err := b.clients[0].Delete(ctx, b.prefix, clientv3.WithPrefix())
	return err
}

func (b *bank) account(i int) string { return fmt.Sprintf("%s%02d", b.prefix, i) }

// round lets each client make so many transactions, and returns how many committed in a
// second.
func (b *bank) round(ctx context.Context, each int) (float64, error) {
	var all sync.WaitGroup
	errs := make([]error, len(b.clients))
	began := time.Now()
	for i, client := range b.clients {
		all.Go(func() { errs[i] = b.moves(ctx, client, each) })
	}
	all.Wait()
	took := time.Since(began)
	if err := errors.Join(errs...); err != nil {
		return 0, err
	}
	return float64(each*len(b.clients)) / took.Seconds(), b.audit(ctx)
}

func (b *bank) moves(ctx context.Context, client *clientv3.Client, n int) error {
	for range n {
		from := rand.IntN(accounts)
		to := (from + 1 + rand.IntN(accounts-1)) % accounts
		if err := b.move(ctx, client, b.account(from), b.account(to)); err != nil {
			return err
		}
	}
	return nil
}

// audit counts the money.
func (b *bank) audit(ctx context.Context) error {
	if !b.safe {
		return nil
	}
	resp, err := b.clients[0].Get(ctx, b.prefix, clientv3.WithPrefix())
	if err != nil {
		return err
	}
	sum := 0
	for _, kv := range resp.Kvs {
		n, err := strconv.Atoi(string(kv.Value))
		if err != nil {
			return err
		}
		sum += n
	}
	if sum != accounts*deposit {
		return fmt.Errorf("%w: %d instead of %d", errLost, sum, accounts*deposit)
	}
	return nil
}
