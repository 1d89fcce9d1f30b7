package screen

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheLatestLinesAndThePanelFitTheScreen(t *testing.T) {
	t.Parallel()
	b := &backdrop{said: []byte("one\ntwo\nthree is long\n")}
	require.Equal(t, []string{"two", "three is"}, b.draw(8, 2))
	b.panel = func(Styles, int) []string { return []string{"panel"} }
	require.Equal(t, []string{"three is", "panel"}, b.draw(8, 2))
	require.Equal(t, []string{"panel"}, b.draw(8, 0), "its height is not known yet")
}
