package screen_test

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/examples/internal/screen"
)

func TestAtWrapsBesideTheTime(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "  1.500s  one two three four\n          five", screen.At(1500*time.Millisecond, "one two three four five", 30))
}

func TestAPipeIsNotLive(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer func() { _ = r.Close() }()
	defer func() { _ = w.Close() }()
	assert.False(t, screen.Live(w))
	assert.Equal(t, screen.DefaultWidth, screen.Width(w))
}
