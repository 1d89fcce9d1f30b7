package etcdtest

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/conclave-go/conclave/internal/tempdir"
)

// IgnoreKnown returns what goleak has to overlook after a cluster was closed.
// With etcd 3.7.3 that is nothing; the idle connections between members, which
// etcd leaves open, end with the proxies between them.
func IgnoreKnown() []goleak.Option { return nil }

// Main runs a package's tests and fails when they leave goroutines behind. What they leave
// in temporary files goes with the process, or with the next: see package tempdir. Main is called
// from TestMain and does not return.
func Main(m *testing.M) { goleak.VerifyTestMain(tempdir.Tests{M: m}, IgnoreKnown()...) }
