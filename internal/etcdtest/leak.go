package etcdtest

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/conclave-go/conclave/internal/suite"
)

// IgnoreKnown returns what goleak has to overlook after a cluster was closed.
// With etcd 3.7.3 that is nothing; the idle connections between members, which
// etcd leaves open, end with the proxies between them.
func IgnoreKnown() []goleak.Option { return nil }

// Main runs a package's tests as [suite.Of] does, those that match slow not with -short, and fails
// when they leave goroutines behind. It is called from TestMain and does not return.
func Main(m *testing.M, slow ...string) {
	goleak.VerifyTestMain(suite.Of(m, slow...), IgnoreKnown()...)
}

// Essentials is [Main] as [suite.Essentials] does it: with -short only the tests that match essential.
func Essentials(m *testing.M, essential ...string) {
	goleak.VerifyTestMain(suite.Essentials(m, essential...), IgnoreKnown()...)
}
