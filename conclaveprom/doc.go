// Package conclaveprom makes Prometheus metrics of what Conclave does: of locks and
// elections, leases and sessions, streams and caches. Package redlockprom has those of
// redlock, so that programs without Redis do not compile its client.
//
//	metrics, err := conclaveprom.New()
//	registry.MustRegister(metrics)
//	session, err := lease.NewSession(ctx, client, lease.WithObserver(metrics.Lease()))
//	cache, err := watch.NewCache(ctx, client, "config/", decode, watch.WithObserver(metrics.Watch()))
//
// One Metrics serves any number of sessions, streams and caches. The metrics, and alerts
// and a dashboard on them, are described in docs/observability of the repository.
//
// # Labels
//
// Names of locks and keys of streams are made up by programs and can be without number,
// so they are no labels: all have the label "all", unless [WithNameLabel] and
// [WithWatchLabel] map them to others. The other labels have a few values each.
//
// # Histograms
//
// Durations are in seconds, in classic buckets from 0.1 ms to 60 s and in native
// histograms at the same time; a server that scrapes native histograms takes those.
//
// # Cost
//
// An uncontended Lock and Unlock updates five metrics, which takes about two microseconds
// (BenchmarkEvents). Gauges of leases, sessions and streams cost something when
// they are scraped only.
package conclaveprom
