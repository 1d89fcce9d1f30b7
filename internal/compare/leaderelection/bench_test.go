//go:build !race

package leaderelection_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/client/v3/concurrency"

	"github.com/conclave-go/conclave/internal/compare/leaderelection"
	"github.com/conclave-go/conclave/internal/etcdtest"
)

// pair is a leader and the one other candidate.
type pair struct {
	// cut cuts the leader off; resign lets it give up its leadership.
	cut    func()
	resign func() error
	// elected gets the time at which the other is elected.
	elected <-chan time.Time
	// end ends both, after the election.
	end func() error
}

// elect makes a pair, the first of which leads.
type elect func(b *testing.B, c *etcdtest.Cluster, name string) pair

// elects are the libraries under comparison; their names are part of the units of the
// figures. Conclave is the first.
func elects() []string { return []string{"", "-official", "-client-go"} }

func electBy(library string) elect {
	switch library {
	case "-official":
		return electOfficial
	case "-client-go":
		return electClientGo
	default:
		return electConclave
	}
}

func electConclave(b *testing.B, c *etcdtest.Cluster, name string) pair {
	b.Helper()
	client, net := c.ProxiedClient(b)
	b.Cleanup(net.Heal)
	first, err := newElection(b, client, name).Campaign(b.Context(), "first")
	require.NoError(b, err)
	second := newElection(b, c.Client(b), name)
	elected := make(chan time.Time, 1)
	resigned := make(chan error, 1)
	go func() {
		term, err := second.Campaign(b.Context(), "second")
		elected <- time.Now()
		if err == nil {
			err = term.Resign(b.Context())
		}
		resigned <- err
	}()
	return pair{
		cut:     net.Cut,
		resign:  func() error { return first.Resign(b.Context()) },
		elected: elected,
		end:     func() error { return <-resigned },
	}
}

func electOfficial(b *testing.B, c *etcdtest.Cluster, name string) pair {
	b.Helper()
	ttl := concurrency.WithTTL(int(leaderelection.LeaseDuration / time.Second))
	client, net := c.ProxiedClient(b)
	b.Cleanup(net.Heal)
	s1, err := concurrency.NewSession(client, ttl)
	require.NoError(b, err)
	s2, err := concurrency.NewSession(c.Client(b), ttl)
	require.NoError(b, err)
	first, second := concurrency.NewElection(s1, name), concurrency.NewElection(s2, name)
	require.NoError(b, first.Campaign(b.Context(), "first"))
	elected := make(chan time.Time, 1)
	campaigned := make(chan error, 1)
	go func() {
		err := second.Campaign(b.Context(), "second")
		elected <- time.Now()
		campaigned <- err
	}()
	return pair{
		cut:     net.Cut,
		resign:  func() error { return first.Resign(b.Context()) },
		elected: elected,
		end: func() error {
			s1.Orphan() // it may have been cut off
			return errors.Join(<-campaigned, s2.Close())
		},
	}
}

func electClientGo(b *testing.B, c *etcdtest.Cluster, name string) pair {
	b.Helper()
	client, net := c.ProxiedClient(b)
	first, elected := make(chan time.Time, 1), make(chan time.Time, 1)
	leads := func(ch chan time.Time) func(context.Context) {
		return func(context.Context) { ch <- time.Now() }
	}
	stopFirst := newCandidate(b, client, name, "first", leads(first)).Start(b.Context())
	<-first
	e := newCandidate(b, c.Client(b), name, "second", leads(elected))
	stopSecond := e.Start(b.Context())
	require.Equal(b, "first", <-e.Leaders())
	return pair{
		cut:     net.Cut,
		resign:  func() error { stopFirst(); return nil },
		elected: elected,
		end: func() error {
			net.Heal()
			stopFirst()
			stopSecond()
			return nil
		},
	}
}

// BenchmarkFailoverAfterCrash compares how long after the leader has vanished the other
// candidate is elected. Times are in lease durations, so that they hold for others, too:
// multiply by 15 s for what client-go recommends. The crashes are spread evenly over a
// renewal period.
func BenchmarkFailoverAfterCrash(b *testing.B) {
	c := etcdtest.New(b, etcdtest.WithControl())
	took := compare(b, c, 8, func(p pair, i, n int) (time.Time, error) {
		<-time.After(leaderelection.LeaseDuration/3 + leaderelection.LeaseDuration/3*time.Duration(i)/time.Duration(n))
		p.cut()
		return time.Now(), nil
	})
	for i, library := range elects() {
		b.ReportMetric(ttls(median(took[i])), "ttl-p50"+library)
		b.ReportMetric(ttls(slices.Max(took[i])), "ttl-max"+library)
	}
	reportRatios(b, took)
}

// BenchmarkFailoverAfterRelease compares how long after the leader gives up the other
// candidate is elected.
func BenchmarkFailoverAfterRelease(b *testing.B) {
	c := etcdtest.New(b, etcdtest.WithControl())
	took := compare(b, c, 8, func(p pair, _, _ int) (time.Time, error) {
		<-time.After(rand.N(2 * leaderelection.RetryPeriod))
		start := time.Now()
		return start, p.resign()
	})
	for i, library := range elects() {
		b.ReportMetric(millis(median(took[i])), "ms-p50"+library)
		b.ReportMetric(millis(slices.Max(took[i])), "ms-max"+library)
	}
	// client-go's time is the wait for its next try, which scales.
	scale := float64(15*time.Second) / float64(leaderelection.LeaseDuration)
	b.ReportMetric(scale*millis(median(took[2])), "ms-p50-client-go-as-recommended")
	reportRatios(b, took)
}

// compare lets each library elect n pairs and measures the time from what fail does until
// the other is elected, one library after the other.
func compare(b *testing.B, c *etcdtest.Cluster, n int, fail func(p pair, i, n int) (time.Time, error)) [][]time.Duration {
	b.Helper()
	libraries := elects()
	took := make([][]time.Duration, len(libraries))
	for round := 0; b.Loop(); round++ {
		for j := range libraries {
			l := (round + j) % len(libraries)
			var wg sync.WaitGroup
			each := make([]time.Duration, n)
			errs := make([]error, n)
			for i := range n {
				<-time.After(rand.N(100 * time.Millisecond)) // the server looks for dead leases every 500 ms
				p := electBy(libraries[l])(b, c, fmt.Sprintf("%s-%d-%d", libraries[l], round, i))
				wg.Go(func() {
					start, err := fail(p, i, n)
					each[i] = (<-p.elected).Sub(start)
					errs[i] = errors.Join(err, p.end())
				})
			}
			wg.Wait()
			require.NoError(b, errors.Join(errs...))
			took[l] = append(took[l], each...)
		}
	}
	b.ReportMetric(0, "ns/op")
	return took
}

func reportRatios(b *testing.B, took [][]time.Duration) {
	b.Helper()
	for i, library := range elects()[1:] {
		b.ReportMetric(float64(median(took[i+1]))/float64(median(took[0])), "times-faster-p50"+library)
	}
}

func median(all []time.Duration) time.Duration { return slices.Sorted(slices.Values(all))[len(all)/2] }

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func ttls(d time.Duration) float64 { return float64(d) / float64(leaderelection.LeaseDuration) }
