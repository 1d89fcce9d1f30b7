package main

import (
	"context"
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// severalMembers are the functions that make clusters of several members.
//
//nolint:gochecknoglobals // a constant
var severalMembers = []string{"WithMembers", "NewProcesses", "StartEtcd"}

// withMembers returns the names of the tests that start several members, themselves or by
// a function of their package. Functions are told apart by name only: a test too many does no harm.
func (o options) withMembers(ctx context.Context) ([]string, error) {
	list := exec.CommandContext(ctx, "go", append([]string{"list", "-f", "{{.Dir}}"}, o.packages...)...)
	list.Dir = o.in
	dirs, err := list.Output()
	if err != nil {
		return nil, err
	}
	var names []string
	for dir := range strings.Lines(string(dirs)) {
		found, err := testsWithMembers(strings.TrimSpace(dir))
		if err != nil {
			return nil, err
		}
		names = append(names, found...)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

func testsWithMembers(dir string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		return nil, err
	}
	uses := map[string][]string{} // of functions, by name
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok {
				uses[f.Name.Name] = append(uses[f.Name.Name], identifiers(f)...)
			}
		}
	}
	return reaching(uses), nil
}

// identifiers returns all names in a function.
func identifiers(f *ast.FuncDecl) (names []string) {
	ast.Inspect(f, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok && id != f.Name {
			names = append(names, id.Name)
		}
		return true
	})
	return names
}

// reaching returns the tests among functions from which one of severalMembers is reached.
func reaching(uses map[string][]string) (tests []string) {
	reached := map[string]bool{}
	for _, name := range severalMembers {
		reached[name] = true
	}
	for grown := true; grown; {
		grown = false
		for name, used := range uses {
			if !reached[name] && slices.ContainsFunc(used, func(u string) bool { return reached[u] }) {
				reached[name], grown = true, true
			}
		}
	}
	for name := range uses {
		if reached[name] && isTest(name) {
			tests = append(tests, name)
		}
	}
	slices.Sort(tests)
	return tests
}

func isTest(name string) bool {
	return strings.HasPrefix(name, "Test") && name != "TestMain" || strings.HasPrefix(name, "Example")
}
