package main

import (
	"slices"

	"github.com/conclave-go/conclave/internal/compare/perf"
	"github.com/conclave-go/conclave/internal/compare/works/elections"
	"github.com/conclave-go/conclave/internal/compare/works/leases"
	"github.com/conclave-go/conclave/internal/compare/works/locks"
	"github.com/conclave-go/conclave/internal/compare/works/naming"
	"github.com/conclave-go/conclave/internal/compare/works/partitions"
	"github.com/conclave-go/conclave/internal/compare/works/redislocks"
	"github.com/conclave-go/conclave/internal/compare/works/shards"
	"github.com/conclave-go/conclave/internal/compare/works/transactions"
	"github.com/conclave-go/conclave/internal/compare/works/watches"
)

// works returns all works, in the order in which they are done and shown.
func works() []perf.Work {
	return slices.Concat(locks.Works(), leases.Works(), elections.Works(), transactions.Works(), partitions.Works(), shards.Works(), watches.Works(), naming.Works(), redislocks.Works())
}
