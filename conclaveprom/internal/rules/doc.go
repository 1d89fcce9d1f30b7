// Package rules checks the alert rules and the dashboard of docs/observability: that
// Prometheus' own parser takes them, and that what they name is there when a running
// program is scraped. It is a module of its own, outside go.work, so that Prometheus'
// versions stay out of everything else.
package rules
