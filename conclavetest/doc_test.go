package conclavetest_test

import (
	"go/parser"
	"go/token"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What the package comment shows has to compile and to pass.
func TestThePackageCommentShowsTestsOfThisPackage(t *testing.T) {
	t.Parallel()
	file, err := parser.ParseFile(token.NewFileSet(), "doc.go", nil, parser.ParseComments)
	require.NoError(t, err)
	examples, err := os.ReadFile("example_test.go")
	require.NoError(t, err)
	found := 0
	for _, block := range codeBlocks(file.Doc.Text()) {
		require.Contains(t, string(examples), "\n"+block)
		found++
	}
	require.Equal(t, 2, found)
}

// codeBlocks returns the indented parts of a comment.
func codeBlocks(text string) (blocks []string) {
	var block strings.Builder
	for line := range strings.Lines(text) {
		code, indented := strings.CutPrefix(line, "\t")
		if indented || (line == "\n" && block.Len() > 0) {
			block.WriteString(code)
			continue
		}
		if block.Len() > 0 {
			blocks = append(blocks, strings.TrimRight(block.String(), "\n")+"\n")
			block.Reset()
		}
	}
	return blocks
}
