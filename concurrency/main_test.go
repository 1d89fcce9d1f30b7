package concurrency_test

import (
	"testing"

	"github.com/conclave-go/conclave/internal/etcdtest"
)

func TestMain(m *testing.M) {
	// Left out with -short: what builds programs, and what has whole fleets.
	etcdtest.Main(m, "OneLine", "MixedFleets")
}
