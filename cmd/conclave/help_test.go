//go:build unix

package main_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// commands are all there are.
func commands() [][]string {
	return [][]string{
		{"lock"}, {"elect"}, {"observe"}, {"inspect"}, {"ls"}, {"release"}, {"register"}, {"watch"}, {"shards"}, {"doctor"}, {"redis", "lock"}, {"man"},
	}
}

func TestHelpFitsOnATerminal(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	for _, c := range commands() {
		text := p.good(append(c, "--help")...)
		require.Contains(t, text, "Usage:\n  conclave "+strings.Join(c, " "))
		require.Contains(t, text, "Examples:\n", c)
		examples := false
		for line := range strings.Lines(text) {
			examples = strings.HasPrefix(line, "Examples:") || examples && strings.HasPrefix(line, "  ")
			if !examples { // which are to be copied
				require.LessOrEqual(t, utf8.RuneCountInString(strings.TrimRight(line, "\n")), 84, "%v: %q", c, line)
			}
		}
	}
}

func TestManPagesHaveTheTextOfTheHelp(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	require.Empty(t, p.good("man", p.dir))
	for _, c := range append(commands(), nil) {
		page := strings.Join(append([]string{"conclave"}, c...), "-") + ".1"
		text, err := os.ReadFile(filepath.Join(p.dir, page))
		require.NoError(t, err)
		require.Contains(t, string(text), ".SH SYNOPSIS")
	}
	require.Equal(t, 64, p.run("man").code)
}

func TestNamesInUseAreCompleted(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	p.start("lock", "reports/a", "other").says("~mutex/")
	for _, c := range []string{"lock", "inspect", "release", "elect", "observe", "ls"} {
		// Completion gives up after a second.
		require.Eventually(t, func() bool {
			return p.run("__complete", c, "rep").stdout == "reports/a\tmutex, 1\n:4\n"
		}, hang, poll, c)
	}
	require.Equal(t, "drain\n:4\n", p.run("__complete", "shards", "mailer", "dr").stdout)
	require.Equal(t, ":0\n", p.run("__complete", "lock", "a", "--", "ech").stdout, "files are the shell's")
	require.Equal(t, ":4\n", p.run("__complete", "release", "a", "rep").stdout, "it takes one name")
	require.Equal(t, ":4\n", p.via("127.0.0.1:1").run("__complete", "release", "rep").stdout)
	for _, shell := range []string{"bash", "zsh", "fish"} {
		require.Contains(t, p.good("completion", shell), "conclave")
	}
}
