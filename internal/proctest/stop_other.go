//go:build !unix

package proctest

import "testing"

// Stop skips the test: processes cannot be suspended here.
func (p *Process) Stop(tb testing.TB) {
	tb.Helper()
	tb.Skipf("SKIPPED %s: processes cannot be stopped on this system", tb.Name())
}

// Continue does nothing.
func (p *Process) Continue(testing.TB) {}
