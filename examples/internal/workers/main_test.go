package workers_test

import (
	"context"
	"encoding/json"
	"os"
	"testing"

	"github.com/conclave-go/conclave/conclavetest"
	"github.com/conclave-go/conclave/examples/internal/workers"
)

// workerVariable in the environment makes the test binary a worker.
const workerVariable = "CONCLAVE_WORKERS_TEST"

// event is what the workers of these tests report.
type event struct {
	At     int64
	Worker string
	Detail string
	PID    int
}

// Time implements [workers.Event].
func (e event) Time() int64 { return e.At }

func TestMain(m *testing.M) {
	if os.Getenv(workerVariable) != "" {
		work()
	}
	conclavetest.Main(m)
}

// work repeats its job and each line that it is told, to its end.
func work() {
	out := json.NewEncoder(os.Stdout)
	say := func(line string) { _ = out.Encode(event{Worker: "copy", Detail: line, PID: os.Getpid()}) }
	var job string
	err := workers.Serve(context.Background(), os.Stdin, &job, say, func(ctx context.Context) error {
		say(job)
		<-ctx.Done()
		return nil
	})
	if err != nil {
		os.Exit(1)
	}
	os.Exit(0)
}
