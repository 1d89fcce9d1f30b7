package lease_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/lease"
)

// BenchmarkRound reports what a lease costs each third of its TTL.
func BenchmarkRound(b *testing.B) {
	for _, keys := range []int{0, 1, 100, 1000} {
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			c := etcdtest.New(b)
			var rec etcdtest.Recorder
			p := newPulse()
			s := newSession(b, c.Client(b, etcdtest.WithRecorder(&rec)), lease.WithTTL(calm), p.observe())
			prefix := c.Prefix(b)
			for i := range keys {
				_, err := lease.Register(guarded(b), s, fmt.Sprintf("%s%04d", prefix, i), "v")
				require.NoError(b, err)
			}
			l := liveLease(b, s)
			p.round(b, l)
			rec.Reset()
			rounds := 0
			for b.Loop() {
				p.round(b, l)
				rounds++
			}
			sent, received := rec.Bytes()
			per := func(n int) float64 { return float64(n) / float64(rounds) }
			b.ReportMetric(per(rec.Count("LeaseKeepAlive")), "renewals/round")
			b.ReportMetric(per(rec.Count("Txn")), "reads/round")
			b.ReportMetric(per(int(sent)), "B-sent/round")
			b.ReportMetric(per(int(received)), "B-received/round")
		})
	}
}

// BenchmarkGrant grants by turns with this package and with clientv3 alone. The
// ratio is ours over theirs.
func BenchmarkGrant(b *testing.B) {
	client := etcdtest.New(b).Client(b)
	ctx := b.Context()
	var ours, raw time.Duration
	for b.Loop() {
		begin := time.Now()
		l, err := lease.Grant(ctx, client)
		ours += time.Since(begin)
		require.NoError(b, err)
		begin = time.Now()
		resp, err := client.Grant(ctx, int64(lease.DefaultTTL/time.Second))
		raw += time.Since(begin)
		require.NoError(b, err)

		b.StopTimer()
		require.NoError(b, l.Close(ctx))
		_, err = client.Revoke(ctx, resp.ID)
		require.NoError(b, err)
		b.StartTimer()
	}
	b.ReportMetric(float64(ours.Nanoseconds())/float64(b.N), "ns/Grant")
	b.ReportMetric(float64(raw.Nanoseconds())/float64(b.N), "ns/clientv3.Grant")
	b.ReportMetric(float64(ours)/float64(raw), "ratio")
}
