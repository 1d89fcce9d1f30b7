package workers

import (
	"errors"

	"github.com/conclave-go/conclave/internal/process"
)

// Quit has processes end in good order, all at a time, and returns when they are gone.
func Quit(all ...*process.Process) error {
	for _, p := range all {
		p.Ask()
	}
	var errs []error
	for _, p := range all {
		errs = append(errs, p.Quit())
	}
	return errors.Join(errs...)
}
