// Package conclaveprom has Prometheus metrics for what Conclave does: for locks and
// elections, leases and sessions, streams and caches. Package redlockprom has those for
// redlock, so that programs without Redis do not compile its client.
//
//	metrics, err := conclaveprom.New()
//	registry.MustRegister(metrics)
//	session, err := lease.NewSession(ctx, client, lease.WithObserver(metrics.Lease()))
//	cache, err := watch.NewCache(ctx, client, "config/", decode, watch.WithObserver(metrics.Watch()))
//
// One Metrics serves any number of sessions, streams and caches. The metrics, with alerts
// and a dashboard, are described in docs/observability of the repository.
//
// # Labels
//
// Programs make up names of locks and keys of streams, and there may be any number of
// them. So they are not used as labels: all have the label "all", unless [WithNameLabel]
// and [WithWatchLabel] map them to others. The other labels have a few values each.
//
// # Histograms
//
// Durations are in seconds, both in classic buckets from 0.1 ms to 60 s and in native
// histograms; a server that scrapes native histograms takes those.
//
// # Cost
//
// An uncontended Lock and Unlock updates five metrics, which takes about two microseconds
// (BenchmarkEvents). Gauges of leases, sessions and streams cost something only when
// they are scraped.
package conclaveprom
