//go:build (race || nosqlite) && !sqlite

package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestWithoutADriverTheProgramSaysWhatItNeeds(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	_, code := r.finish(t)
	assert.Equal(t, 1, code)
	assert.Contains(t, r.stderr.String(), "-tags sqlite")
}
