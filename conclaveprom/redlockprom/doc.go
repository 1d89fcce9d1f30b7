// Package redlockprom makes Prometheus metrics of what package redlock does.
//
//	metrics, err := redlockprom.New()
//	registry.MustRegister(metrics)
//	nodes, err := redlock.NewNodes(clients, redlock.WithObserver(metrics.Redlock()))
//
// It takes the options of package conclaveprom, and the same is true of it: names of
// locks are no labels unless conclaveprom.WithNameLabel maps them. Nodes are a label, by
// the addresses that their clients were configured with.
package redlockprom
