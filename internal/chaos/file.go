package chaos

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"

	"github.com/conclave-go/conclave/internal/chaos/history"
)

// WriteHistory writes the report as the first line, and then every event of every lock,
// as lines of JSON.
func (r *Report) WriteHistory(w io.Writer) error {
	out := bufio.NewWriter(w)
	if err := json.NewEncoder(out).Encode(r); err != nil {
		return err
	}
	var errs []error
	for _, c := range r.Cells {
		errs = append(errs, history.Write(out, c.Events))
	}
	return errors.Join(append(errs, out.Flush())...)
}

// Replay is a schedule of the cells that broke a promise, alone; false if none did.
func (r *Report) Replay() (Schedule, bool) {
	s := Schedule{Seed: r.Schedule.Seed}
	for _, e := range r.Schedule.Entries {
		for _, name := range e.Systems {
			if c, _ := r.cell(e.Scenario, name); c.Verdict == Broken {
				s.Entries = append(s.Entries, e)
				break
			}
		}
	}
	return s, len(s.Entries) > 0
}
