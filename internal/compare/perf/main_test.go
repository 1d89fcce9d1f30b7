package perf_test

import (
	"context"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/conclave-go/conclave/internal/compare/perf"
	"github.com/conclave-go/conclave/internal/process"
)

// hang bounds what should have happened long before.
const hang = 5 * time.Minute

func TestMain(m *testing.M) {
	process.Main(perf.Roles())
	goleak.VerifyTestMain(m)
}

func guarded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	t.Cleanup(cancel)
	return ctx
}
