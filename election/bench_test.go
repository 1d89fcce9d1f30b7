package election_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"github.com/conclave-go/conclave/election"
	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/lease"
)

// Every benchmark measures Conclave and its rivals in turn, A B A B, on one embedded
// etcd, and reports the ratio besides the figures.

// campaigner campaigns and returns how to resign.
type campaigner func(ctx context.Context) (resign func(context.Context) error, err error)

func conclaveCampaigner(tb testing.TB, c *etcdtest.Cluster) campaigner {
	tb.Helper()
	s, err := lease.NewSession(tb.Context(), c.Client(tb))
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, s.Close(context.Background())) })
	e, err := election.New(s, "ours")
	require.NoError(tb, err)
	return func(ctx context.Context) (func(context.Context) error, error) {
		term, err := e.Campaign(ctx, "value")
		if err != nil {
			return nil, err
		}
		return term.Resign, nil
	}
}

func officialCampaigner(tb testing.TB, c *etcdtest.Cluster) campaigner {
	tb.Helper()
	s, err := concurrency.NewSession(c.Client(tb), concurrency.WithTTL(10))
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, s.Close()) })
	e := concurrency.NewElection(s, "official")
	return func(ctx context.Context) (func(context.Context) error, error) {
		return e.Resign, e.Campaign(ctx, "value")
	}
}

// BenchmarkHandover compares the time from the call of Resign to the return of the one
// other candidate's Campaign, on an idle cluster.
func BenchmarkHandover(b *testing.B) {
	c := etcdtest.New(b, etcdtest.WithControl())
	ours := []campaigner{conclaveCampaigner(b, c), conclaveCampaigner(b, c)}
	official := []campaigner{officialCampaigner(b, c), officialCampaigner(b, c)}
	var x, y []time.Duration
	for n := 0; b.Loop(); n++ {
		x = append(x, succeed(b, ours[n%2], ours[(n+1)%2]))
		y = append(y, succeed(b, official[n%2], official[(n+1)%2]))
	}
	b.ReportMetric(0, "ns/op")
	for _, p := range []int{50, 90} {
		b.ReportMetric(micros(percentile(x, p)), fmt.Sprintf("µs-p%d", p))
		b.ReportMetric(micros(percentile(y, p)), fmt.Sprintf("µs-p%d-official", p))
		b.ReportMetric(float64(percentile(y, p))/float64(percentile(x, p)), fmt.Sprintf("times-faster-p%d", p))
	}
}

// idle is how long nothing happens before a measured event.
const idle = 5 * time.Millisecond

// succeed measures one hand-over from the first to the second.
func succeed(b *testing.B, first, second campaigner) time.Duration {
	b.Helper()
	ctx := b.Context()
	resign, err := first(ctx)
	require.NoError(b, err)
	type success struct {
		at     time.Time
		resign func(context.Context) error
		err    error
	}
	elected := make(chan success, 1)
	go func() {
		resign, err := second(ctx)
		elected <- success{time.Now(), resign, err}
	}()
	<-time.After(idle) // the candidate's watch has long begun
	start := time.Now()
	require.NoError(b, resign(ctx))
	s := <-elected
	require.NoError(b, s.err)
	require.NoError(b, s.resign(ctx))
	return s.at.Sub(start)
}

// BenchmarkContendedHandover is the same when both candidates are back at once, so that
// the store has moved on by the time they watch: the usual case.
func BenchmarkContendedHandover(b *testing.B) {
	c := etcdtest.New(b, etcdtest.WithControl())
	ours := []campaigner{conclaveCampaigner(b, c), conclaveCampaigner(b, c)}
	official := []campaigner{officialCampaigner(b, c), officialCampaigner(b, c)}
	var x, y []time.Duration
	for b.Loop() {
		x = append(x, contend(b, ours)...)
		y = append(y, contend(b, official)...)
	}
	b.ReportMetric(0, "ns/op")
	for _, p := range []int{50, 90} {
		b.ReportMetric(micros(percentile(x, p)), fmt.Sprintf("µs-p%d", p))
		b.ReportMetric(micros(percentile(y, p)), fmt.Sprintf("µs-p%d-official", p))
		b.ReportMetric(float64(percentile(y, p))/float64(percentile(x, p)), fmt.Sprintf("times-faster-p%d", p))
	}
}

// contend lets the candidates lead in turn for half a second and returns the times from
// each call of Resign to the return of the next Campaign.
func contend(b *testing.B, all []campaigner) (took []time.Duration) {
	b.Helper()
	ctx, end := context.WithTimeout(b.Context(), 500*time.Millisecond)
	defer end()
	var resigned time.Time // took and this are protected by the leadership
	done := make(chan struct{})
	for _, campaign := range all {
		go func() {
			defer func() { done <- struct{}{} }()
			for ctx.Err() == nil {
				resign, err := campaign(ctx)
				if err != nil {
					return // the window is over
				}
				if now := time.Now(); !resigned.IsZero() {
					took = append(took, now.Sub(resigned))
				}
				resigned = time.Now()
				if err := resign(b.Context()); err != nil {
					b.Error(err)
				}
			}
		}()
	}
	for range all {
		<-done
	}
	return took
}

// BenchmarkFailover reports how long after the leader's network has gone silent the next
// one is elected, with a TTL of two seconds: between renewals the lease has between two
// thirds and all of it left.
func BenchmarkFailover(b *testing.B) {
	const ttl = 2 * time.Second
	c := etcdtest.New(b, etcdtest.WithControl())
	var ours, official []time.Duration
	for n := 0; b.Loop(); n++ {
		client, net := c.ProxiedClient(b)
		s, err := lease.NewSession(b.Context(), client, lease.WithTTL(ttl))
		require.NoError(b, err)
		e, err := election.New(s, fmt.Sprintf("ours-%d", n))
		require.NoError(b, err)
		next, err := lease.NewSession(b.Context(), c.Client(b), lease.WithTTL(ttl))
		require.NoError(b, err)
		rival, err := election.New(next, fmt.Sprintf("ours-%d", n))
		require.NoError(b, err)
		ours = append(ours, failover(b, net,
			func(ctx context.Context) error { _, err := e.Campaign(ctx, ""); return err },
			func(ctx context.Context) error { _, err := rival.Campaign(ctx, ""); return err }))
		net.Heal()
		require.NoError(b, s.Close(b.Context()))
		require.NoError(b, next.Close(b.Context()))

		client, net = c.ProxiedClient(b)
		os, err := concurrency.NewSession(client, concurrency.WithTTL(int(ttl/time.Second)))
		require.NoError(b, err)
		on, err := concurrency.NewSession(c.Client(b), concurrency.WithTTL(int(ttl/time.Second)))
		require.NoError(b, err)
		oe, or := concurrency.NewElection(os, fmt.Sprintf("official-%d", n)), concurrency.NewElection(on, fmt.Sprintf("official-%d", n))
		official = append(official, failover(b, net,
			func(ctx context.Context) error { return oe.Campaign(ctx, "") },
			func(ctx context.Context) error { return or.Campaign(ctx, "") }))
		net.Heal()
		os.Orphan()
		require.NoError(b, on.Close())
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(percentile(ours, 50).Seconds(), "s-p50")
	b.ReportMetric(percentile(official, 50).Seconds(), "s-p50-official")
	b.ReportMetric(slices.Max(ours).Seconds(), "s-max")
	b.ReportMetric(float64(slices.Max(ours))/float64(ttl), "max-x-ttl")
}

// failover measures the time from a cut to the election of the rival.
func failover(b *testing.B, net *etcdtest.Net, first, second func(context.Context) error) time.Duration {
	b.Helper()
	require.NoError(b, first(b.Context()))
	elected := make(chan error, 1)
	go func() { elected <- second(b.Context()) }()
	<-time.After(idle)
	net.Cut()
	start := time.Now()
	require.NoError(b, <-elected)
	return time.Since(start)
}

// BenchmarkObserve compares the time from the call of Proclaim to the delivery at an
// observer with that from the same transaction to the event of a bare watch; with fifty candidates waiting, which
// an observer keeps account of, and with none.
func BenchmarkObserve(b *testing.B) {
	for _, waiting := range []int{0, 50} {
		b.Run(fmt.Sprintf("waiting=%d", waiting), func(b *testing.B) {
			c := etcdtest.New(b, etcdtest.WithControl())
			ctx, cancel := context.WithCancel(b.Context())
			defer cancel()
			s, err := lease.NewSession(ctx, c.Client(b))
			require.NoError(b, err)
			e, err := election.New(s, "e")
			require.NoError(b, err)
			term, err := e.Campaign(ctx, "first")
			require.NoError(b, err)
			writer := c.Client(b)
			for i := range waiting {
				_, err := writer.Put(ctx, fmt.Sprintf("e/~election/waiting-%d", i), "{}")
				require.NoError(b, err)
			}

			seen, ended := make(chan string), make(chan struct{})
			go func() {
				defer close(ended)
				for l, err := range election.Observe(ctx, c.Client(b), "e") {
					if err == nil {
						seen <- l.Value
					}
				}
			}()
			<-seen
			raw := c.Client(b).Watch(ctx, "raw", clientv3.WithCreatedNotify())
			<-raw
			entry, err := writer.Get(ctx, term.Key())
			require.NoError(b, err)
			size := string(entry.Kvs[0].Value) // as large as an entry
			unlike := []clientv3.Cmp{
				clientv3.Compare(clientv3.CreateRevision("raw"), ">", -1),
				clientv3.Compare(clientv3.ModRevision("raw"), ">", -1),
			}

			var ours, bare []time.Duration
			for n := 0; b.Loop(); n++ {
				<-time.After(idle)
				start := time.Now()
				require.NoError(b, term.Proclaim(ctx, fmt.Sprintf("%05d", n)))
				<-seen
				ours = append(ours, time.Since(start))
				<-time.After(idle)
				start = time.Now()
				_, err := writer.Txn(ctx).If(unlike...).Then(clientv3.OpPut("raw", size)).Commit() // as Proclaim
				require.NoError(b, err)
				<-raw
				bare = append(bare, time.Since(start))
			}
			b.ReportMetric(0, "ns/op")
			for _, p := range []int{50, 90} {
				b.ReportMetric(micros(percentile(ours, p)), fmt.Sprintf("µs-p%d", p))
				b.ReportMetric(micros(percentile(bare, p)), fmt.Sprintf("µs-p%d-raw", p))
				b.ReportMetric(float64(percentile(ours, p))/float64(percentile(bare, p)), fmt.Sprintf("p%d-x-raw", p))
			}
			cancel()
			<-ended
		})
	}
}

func percentile(all []time.Duration, p int) time.Duration {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(all))
	return sorted[min(len(sorted)*p/100, len(sorted)-1)]
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
