//go:build !unix

package lock_test

import "github.com/conclave-go/conclave/internal/proctest"

// roles are what processes of these tests do.
var roles proctest.Roles
