package workers_test

import (
	"context"
	"testing"

	"github.com/conclave-go/conclave/conclavetest"
	"github.com/conclave-go/conclave/internal/process"
)

func TestMain(m *testing.M) {
	process.Main(map[string]process.Role{"stand by": standBy})
	conclavetest.Main(m)
}

// standBy does nothing to its end, of which it tells.
func standBy(ctx context.Context, line *process.Line) error {
	var job string
	return line.Serve(ctx, &job, func(string) {}, func(ctx context.Context) error {
		line.Report(job)
		<-ctx.Done()
		line.Report("bye")
		return nil
	})
}
