package main

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/examples/internal/screen"
)

func TestGoingBackAndReadingTwiceAreFailures(t *testing.T) {
	t.Parallel()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, null.Close()) })
	c := &crew{
		view:   screen.NewActs(null, func(err error) { assert.NoError(t, err) }),
		events: make(chan event, 10), knows: make(map[about]int64), missed: make(map[about]int), pushes: make(map[string]int),
	}
	hears := func(version int64, from source) error {
		c.events <- event{Replica: "r1", Kind: learned, Stated: stated{Tenant: "acme", Version: version}, From: from}
		_, err := c.next(t.Context())
		return err
	}
	require.NoError(t, hears(7, missed))
	require.NoError(t, hears(8, pushed))
	require.ErrorContains(t, hears(8, pulled), "gone back")
	require.ErrorContains(t, hears(9, missed), "twice")
}
