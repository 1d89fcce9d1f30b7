//go:build !unix

package redistest

import "errors"

var errNoSignals = errors.New("redistest: processes cannot be stopped on this system")

func (p *process) stop() error { return errNoSignals }

func (p *process) resume() error { return errNoSignals }
