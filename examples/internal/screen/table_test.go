package screen_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/examples/internal/screen"
)

func TestTableFitsTheScreen(t *testing.T) {
	t.Parallel()
	header, rows := []string{"", "p50", "max"}, [][]string{{"mine", "1 ms", "20 ms"}, {"theirs", "10 ms", "9 ms"}}
	require.Equal(t, "\n          p50    max\nmine     1 ms  20 ms\ntheirs  10 ms   9 ms\n", screen.Table(header, rows, 20))
	require.Equal(t, "\nmine\n  p50  1 ms\n  max  20 ms\n\ntheirs\n  p50  10 ms\n  max  9 ms\n", screen.Table(header, rows, 19))
	require.Empty(t, screen.Table(header, nil, 80))
}
