package concurrency_test

import (
	"testing"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/proctest"
)

func TestMain(m *testing.M) {
	proctest.Play(proctest.Roles{"holder": holder})
	// Left out with -short: what builds programs, and what has whole fleets.
	etcdtest.Main(m, "OneLine", "MixedFleets", "AfterAPause")
}
