package suite_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// chooses are the functions that take patterns of tests' names.
var chooses = regexp.MustCompile(`^(suite|etcdtest)\.(Of|Main|Essentials)$`)

var isTest = regexp.MustCompile(`^(Test|Example|Fuzz)`)

// A pattern that matches nothing is of a test that has another name by now: it would run with -short, or no longer run.
func TestEachPatternOfASuiteMatchesATest(t *testing.T) {
	t.Parallel()
	patterns, tests := map[string][]string{}, map[string][]string{}
	require.NoError(t, filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && d.Name() == "testdata" {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		dir := filepath.Dir(path)
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			switch {
			case !ok || f.Recv != nil:
			case f.Name.Name == "TestMain":
				patterns[dir] = append(patterns[dir], patternsIn(t, f)...)
			case isTest.MatchString(f.Name.Name):
				tests[dir] = append(tests[dir], f.Name.Name)
			}
		}
		return nil
	}))
	require.NotEmpty(t, patterns["../../internal/suite"], patterns)
	for dir, all := range patterns {
		for _, p := range all {
			matches := regexp.MustCompile(p).MatchString
			assert.True(t, slices.ContainsFunc(tests[dir], matches) || p == "Unknown", fmt.Sprintf("%s has no test %q", dir, p))
		}
	}
}

// patternsIn returns the strings that TestMain gives to a function that chooses.
func patternsIn(t *testing.T, f *ast.FuncDecl) (all []string) {
	t.Helper()
	ast.Inspect(f, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		fun, ok := call.Fun.(*ast.SelectorExpr)
		if !ok || !chooses.MatchString(fmt.Sprintf("%v.%s", fun.X, fun.Sel.Name)) {
			return true
		}
		for _, arg := range call.Args {
			if lit, ok := arg.(*ast.BasicLit); ok {
				s, err := strconv.Unquote(lit.Value)
				require.NoError(t, err)
				all = append(all, s)
			}
		}
		return true
	})
	return all
}
