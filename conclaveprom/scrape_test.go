package conclaveprom_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/conclaveprom"
	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

// scrape returns what a server would get from a program.
func scrape(t *testing.T, metrics ...prometheus.Collector) string {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics...)
	server := httptest.NewServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError}))
	defer server.Close()
	req, err := http.NewRequestWithContext(guarded(t), http.MethodGet, server.URL, nil)
	require.NoError(t, err)
	resp, err := server.Client().Do(req)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	require.Equal(t, http.StatusOK, resp.StatusCode)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return string(body)
}

func TestARunningProgramIsScraped(t *testing.T) {
	t.Parallel()
	metrics := newMetrics(t)
	program(t, etcdtest.New(t), metrics)
	var body string
	require.Eventually(t, func() bool { // a busy machine renews late
		body = scrape(t, metrics)
		return strings.Contains(body, `conclave_sessions{state="healthy"} 1`+"\n")
	}, guard, time.Millisecond)
	for _, line := range []string{
		`conclave_lock_grants_total{kind="mutex",name="all",via="free"} 3`,
		`conclave_lock_grants_total{kind="mutex",name="all",via="queue"} 1`,
		`conclave_lock_grants_total{kind="election",name="all",via="free"} 1`,
		`conclave_lock_failures_total{kind="mutex",name="all",reason="taken"} 1`,
		`conclave_lock_holds{kind="mutex",name="all"} 0`,
		`conclave_lock_holds{kind="election",name="all"} 1`,
		`conclave_lock_waiters{kind="mutex",name="all"} 0`,
		`conclave_lock_wait_seconds_count{kind="mutex",name="all"} 4`,
		`conclave_leases_lost_total{reason="revoked"} 1`,
		`conclave_watch_streams{kind="cache",name="all"} 1`,
	} {
		require.Contains(t, body, line+"\n")
	}
	// The hold's own look may be before the lease's.
	require.Regexp(t, regexp.MustCompile(`(?m)^conclave_lock_losses_total\{kind="mutex",name="all",reason="(revoked|deleted)"\} 1$`), body)
	require.Regexp(t, regexp.MustCompile(`(?m)^conclave_lease_renewal_seconds_count [1-9]`), body)
}

func ExampleNew() {
	ctx := context.Background()
	cluster, err := etcdtest.Start(ctx) // a program has an etcd of its own
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = cluster.Close() }()
	client, err := cluster.NewClient()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = client.Close() }()

	metrics, err := conclaveprom.New()
	if err != nil {
		fmt.Println(err)
		return
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics)
	server := httptest.NewServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	defer server.Close()

	session, err := lease.NewSession(ctx, client, lease.WithObserver(metrics.Lease()))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = session.Close(ctx) }()
	mutex, err := lock.NewMutex(session, "job")
	if err != nil {
		fmt.Println(err)
		return
	}
	err = mutex.Do(ctx, func(context.Context, *lock.Hold) error {
		resp, err := server.Client().Get(server.URL)
		if err != nil {
			return err
		}
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(resp.Body)
		for line := range strings.Lines(string(body)) {
			if strings.HasPrefix(line, "conclave_lock_holds") {
				fmt.Print(line)
			}
		}
		return err
	})
	if err != nil {
		fmt.Println(err)
	}
	// Output:
	// conclave_lock_holds{kind="mutex",name="all"} 1
}
