package conclaveprom_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/conclaveprom/redlockprom"
)

const root = ".."

// manual returns the text of docs/observability.
func manual(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "docs", "observability", "README.md"))
	require.NoError(t, err)
	return string(text)
}

// matches returns the groups of all matches.
func matches(pattern, text string) (all [][]string) {
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		all = append(all, m[1:])
	}
	return all
}

func TestTheManualListsEveryMetricWithItsLabels(t *testing.T) {
	t.Parallel()
	redis, err := redlockprom.New()
	require.NoError(t, err)
	described := make(map[string]string)
	for _, c := range []prometheus.Collector{newMetrics(t), redis} {
		for _, d := range descriptions(c) {
			m := matches(`fqName: "([^"]*)".*variableLabels: \{([^}]*)\}`, d)
			require.Len(t, m, 1, d)
			described[m[0][0]] = strings.ReplaceAll(m[0][1], ",", ", ")
		}
	}
	listed := make(map[string]string)
	for _, m := range matches("(?m)^\\| `(conclave_[a-z_]*)` \\| [a-z]+ \\| ([a-z, ]*?) ?\\|", manual(t)) {
		listed[m[0]] = m[1]
	}
	require.Equal(t, described, listed)
}

func descriptions(c prometheus.Collector) (all []string) {
	to := make(chan *prometheus.Desc)
	go func() {
		defer close(to)
		c.Describe(to)
	}()
	for d := range to {
		all = append(all, d.String())
	}
	return all
}

func TestTheManualListsEveryLogLineWithItsLevel(t *testing.T) {
	t.Parallel()
	written := make(map[string]string)
	for _, dir := range []string{"lease", "lock", "election", "watch", "redlock", "conclavegrpc", "internal"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
			if err == nil && strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") && !kit(path) {
				logLines(t, path, written)
			}
			return err
		})
		require.NoError(t, err)
	}
	listed := make(map[string]string)
	for _, m := range matches("(?m)^\\| `([a-z]+: [^`]*)` \\| (Debug|Info|Warn|Error) \\|", manual(t)) {
		listed[m[0]] = m[1]
	}
	require.Equal(t, listed, written)
}

// kit reports whether a file is of the tests' own tools.
func kit(path string) bool {
	for _, dir := range []string{"chaos", "compare", "etcdtest", "netfault", "peertest", "redistest", "timeline", "vtime"} {
		if strings.Contains(filepath.ToSlash(path), "/internal/"+dir+"/") {
			return true
		}
	}
	return false
}

// logLines notes the messages that a file logs, and their levels.
func logLines(t *testing.T, path string, to map[string]string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	require.NoError(t, err)
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) == 0 {
			return true
		}
		method, ok := call.Fun.(*ast.SelectorExpr)
		message, literal := call.Args[0].(*ast.BasicLit)
		if !ok || !literal || message.Kind != token.STRING || !regexp.MustCompile(`^(Debug|Info|Warn|Error)(Context)?$`).MatchString(method.Sel.Name) {
			return true
		}
		text, err := strconv.Unquote(message.Value)
		require.NoError(t, err)
		level := strings.TrimSuffix(method.Sel.Name, "Context")
		if other, ok := to[text]; ok && other != level {
			t.Errorf("%q is logged at %s and at %s", text, other, level)
		}
		to[text] = level
		return true
	})
}
