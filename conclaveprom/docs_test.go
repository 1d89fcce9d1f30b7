package conclaveprom_test

import (
	"cmp"
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
	for _, dir := range []string{"lease", "lock", "election", "watch", "shard", "redlock", "conclavegrpc", "internal"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
			if err == nil && strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") && !kit(path) {
				logLines(t, path, written)
			}
			return err
		})
		require.NoError(t, err)
	}
	listed := make(map[string]string)
	for _, m := range matches("(?m)^\\| `([a-z.]+: [^`]*)` \\| (Debug|Info|Warn|Error) \\|", manual(t)) {
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
		if !ok {
			return true
		}
		level, text := logLine(t, call)
		if level == "" {
			return true
		}
		if other, ok := to[text]; ok && other != level {
			t.Errorf("%q is logged at %s and at %s", text, other, level)
		}
		to[text] = level
		return true
	})
}

// logLine returns the level and message of a call of a logger, log.Warn("...") or
// tell(slog.LevelWarn, "..."); empty if it is another call.
func logLine(t *testing.T, call *ast.CallExpr) (level, text string) {
	t.Helper()
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || len(call.Args) == 0 {
		return "", ""
	}
	message := call.Args[0]
	level = strings.TrimSuffix(method.Sel.Name, "Context")
	if first, ok := call.Args[0].(*ast.SelectorExpr); ok && len(call.Args) > 1 {
		level, message = strings.TrimPrefix(first.Sel.Name, "Level"), call.Args[1]
	}
	if !regexp.MustCompile(`^(Debug|Info|Warn|Error)$`).MatchString(level) {
		return "", ""
	}
	if text = literal(t, message); text == "" {
		return "", ""
	}
	return level, text
}

// literal returns the text of a string, with dots for parts that differ; empty if it is
// something else.
func literal(t *testing.T, e ast.Expr) string {
	t.Helper()
	switch e := e.(type) {
	case *ast.BinaryExpr:
		x, y := literal(t, e.X), literal(t, e.Y)
		if x == "" && y == "" {
			return ""
		}
		return cmp.Or(x, "...") + cmp.Or(y, "...")
	case *ast.BasicLit:
		if e.Kind == token.STRING {
			text, err := strconv.Unquote(e.Value)
			require.NoError(t, err)
			return text
		}
	}
	return ""
}
