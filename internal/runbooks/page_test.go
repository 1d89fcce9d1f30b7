package runbooks_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// section is what stands below a heading of the page, as far as it can be run.
type section struct {
	title  string
	blocks []string // of commands
	next   int
}

// read returns a section of docs/operations.md.
func read(t *testing.T, title string) *section {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "operations.md"))
	require.NoError(t, err)
	_, after, found := strings.Cut(string(text), "\n## "+title+"\n")
	require.True(t, found, "there is no section %q", title)
	body, _, _ := strings.Cut(after, "\n## ")
	s := &section{title: title}
	for _, m := range regexp.MustCompile("(?ms)^ *```sh\n(.*?)^ *```$").FindAllStringSubmatch(body, -1) {
		s.blocks = append(s.blocks, m[1])
	}
	require.NotEmpty(t, s.blocks, "section %q has no commands", title)
	return s
}

// command returns the next command, which has to contain what the test thinks it is.
func (s *section) command(t *testing.T, what string) string {
	t.Helper()
	require.Less(t, s.next, len(s.blocks), "section %q has no command with %q any more", s.title, what)
	block := s.blocks[s.next]
	s.next++
	require.Contains(t, block, what, "in section %q", s.title)
	return block
}

// requireDone checks that no command was left out.
func (s *section) requireDone(t *testing.T) {
	t.Helper()
	require.Empty(t, s.blocks[s.next:], "commands of section %q that nobody has played", s.title)
}
