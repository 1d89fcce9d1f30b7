package chaos

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/conclave-go/conclave/internal/chaos/history"
	"github.com/conclave-go/conclave/internal/spec"
)

// slack is how late after a deadline a grant may be told: a worker can be stopped between its
// last look at the clock and the observer.
const slack = time.Hour

// trace returns the file that a worker's messages go to, "" if none.
func (t *trial) trace(worker string) string {
	if t.traces == nil {
		return ""
	}
	return filepath.Join(t.traces.Path(), worker)
}

// specify checks what the workers have done, each as far as it came, against the
// specification and etcd's own history.
func (t *trial) specify() error {
	if t.traces == nil {
		return nil
	}
	run := spec.NewRun()
	run.Slack = slack
	files, err := os.ReadDir(t.traces.Path())
	errs := []error{err}
	for _, f := range files {
		errs = append(errs, t.replay(run, f.Name()))
	}
	if run.Steps() == 0 { // a worker that was ended as it began has none, but not all
		errs = append(errs, fmt.Errorf("%s: no worker has written a trace", t.Lock))
	}
	for _, v := range run.Check(t.history) {
		t.note(history.Event{Kind: history.Left, Detail: v.Error()})
	}
	return errors.Join(append(errs, t.traces.Remove())...)
}

func (t *trial) replay(run *spec.Run, worker string) (err error) {
	file, err := os.Open(t.trace(worker))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if err := run.Replay(worker, file); err != nil {
		return fmt.Errorf("%s: %w", t.Lock, err)
	}
	return nil
}
