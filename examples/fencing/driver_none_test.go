//go:build (race || nosqlite) && !sqlite

package main

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/conclave-go/conclave/examples/internal/programtest"
)

func TestWithoutADriverTheProgramSaysWhatItNeeds(t *testing.T) {
	t.Parallel()
	r := programtest.Start(t, nil)
	_, code := r.Finish(t)
	assert.Equal(t, 1, code)
	assert.Contains(t, r.Stderr.String(), "-tags sqlite")
}
