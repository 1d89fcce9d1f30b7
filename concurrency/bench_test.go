package concurrency_test

import (
	"context"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	official "go.etcd.io/etcd/client/v3/concurrency"

	"github.com/conclave-go/conclave/concurrency"
	"github.com/conclave-go/conclave/internal/etcdtest"
)

// BenchmarkSTM has clients increment one counter in transactions, those of either library in
// turn, and reports their ratio.
func BenchmarkSTM(b *testing.B) {
	ours := func(c *clientv3.Client, key string) error {
		_, err := concurrency.NewSTM(c, func(s concurrency.STM) error { s.Put(key, next(s.Get(key))); return nil })
		return err
	}
	theirs := func(c *clientv3.Client, key string) error {
		_, err := official.NewSTM(c, func(s official.STM) error { s.Put(key, next(s.Get(key))); return nil })
		return err
	}
	for _, n := range []int{1, 4, 16} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			c := etcdtest.New(b, etcdtest.WithControl())
			clients := make([]*clientv3.Client, n)
			for i := range clients {
				clients[i] = c.Client(b)
			}
			round := func(key string, increment func(*clientv3.Client, string) error) time.Duration {
				began := time.Now()
				var wg sync.WaitGroup
				for _, client := range clients {
					wg.Go(func() {
						if err := increment(client, key); err != nil {
							b.Error(err)
						}
					})
				}
				wg.Wait()
				return time.Since(began)
			}
			var our, their time.Duration
			for b.Loop() {
				our += round("ours", ours)
				their += round("theirs", theirs)
			}
			b.ReportMetric(float64(our)/float64(their), "ours/official")
			for _, key := range []string{"ours", "theirs"} {
				resp, err := clients[0].Get(context.WithoutCancel(b.Context()), key)
				require.NoError(b, err)
				require.Equal(b, strconv.Itoa(n*b.N), string(resp.Kvs[0].Value), "each increment counts")
			}
		})
	}
}

// next returns the number after the one given.
func next(number string) string {
	n, _ := strconv.Atoi(number)
	return strconv.Itoa(n + 1)
}
