// Package hooks is where lease leaves the insides of its types for package inside,
// which imports lease and so cannot be imported by it.
package hooks

import "github.com/conclave-go/conclave/internal/look"

//nolint:gochecknoglobals // set once, by lease's initialisation
var (
	// Session returns what an any that is a *lease.Session has inside.
	Session func(session any) any
	// Keys returns what the rounds of an any that is a *lease.Lease look at.
	Keys func(lease any) *look.List
)
