package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// variable is the environment variable that chooses a mutant.
const variable = "CONCLAVE_MUTANT"

// overlay writes changed copies of the files that have mutants to dir, and an overlay for
// the go command that puts them in place. Every function with mutants begins with a choice
// among them.
func overlay(root, dir string, all []mutant) (file string, err error) {
	byFile := make(map[string][]mutant)
	for _, m := range all {
		byFile[m.file] = append(byFile[m.file], m)
	}
	replace := make(map[string]string)
	var misfits []error
	for n, name := range slices.Sorted(maps.Keys(byFile)) {
		text, pkg, err := mutated(filepath.Join(root, name), byFile[name])
		if err != nil {
			misfits = append(misfits, fmt.Errorf("%s: %w", name, err))
			continue
		}
		copied := filepath.Join(dir, fmt.Sprintf("%d_%s", n, filepath.Base(name)))
		chooser := filepath.Join(dir, fmt.Sprintf("%d_chooser.go", n))
		choice := fmt.Sprintf("package %s\n\nimport \"os\"\n\nvar mutantChosen = os.Getenv(%q)\n", pkg, variable)
		if err := os.WriteFile(copied, text, 0o600); err != nil {
			return "", err
		}
		if err := os.WriteFile(chooser, []byte(choice), 0o600); err != nil {
			return "", err
		}
		replace[filepath.Join(root, name)] = copied
		replace[filepath.Join(root, filepath.Dir(name), "mutant_chosen.go")] = chooser
	}
	if err := errors.Join(misfits...); err != nil {
		return "", err
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	file = filepath.Join(dir, "overlay.json")
	return file, os.WriteFile(file, text, 0o600)
}

// mutated returns the text of a file with its mutants, and the name of its package.
func mutated(file string, all []mutant) (text []byte, pkg string, err error) {
	text, err = os.ReadFile(file)
	if err != nil {
		return nil, "", err
	}
	parsed, err := parser.ParseFile(token.NewFileSet(), file, text, parser.SkipObjectResolution)
	if err != nil {
		return nil, "", err
	}
	begin := parsed.FileStart
	added := make(map[int]string) // what is put after the opening brace at this place
	var misfits []error
	for _, m := range all {
		fn := function(parsed, m.fn)
		if fn == nil {
			misfits = append(misfits, fmt.Errorf("mutant %q: there is no function %s", m.name, m.fn))
			continue
		}
		from, to := int(fn.Body.Lbrace-begin), int(fn.Body.Rbrace-begin)
		body := string(text[from+1 : to])
		if n := strings.Count(body, m.old); n != 1 {
			misfits = append(misfits, fmt.Errorf("mutant %q: %s has %q %d times: must be once", m.name, m.fn, m.old, n))
			continue
		}
		end := ""
		if fn.Type.Results == nil {
			end = "\nreturn"
		}
		added[from+1] += fmt.Sprintf("\nif mutantChosen == %q {%s%s\n}\n", m.name, strings.Replace(body, m.old, m.with, 1), end)
	}
	if err := errors.Join(misfits...); err != nil {
		return nil, "", err
	}
	var out bytes.Buffer
	at := 0
	for _, place := range slices.Sorted(maps.Keys(added)) {
		out.Write(text[at:place])
		out.WriteString(added[place])
		at = place
	}
	out.Write(text[at:])
	if _, err := parser.ParseFile(token.NewFileSet(), file, out.Bytes(), parser.SkipObjectResolution); err != nil {
		return nil, "", fmt.Errorf("with its mutants: %w", err)
	}
	return out.Bytes(), parsed.Name.Name, nil
}

// function finds a function by its name, a method by Type.name.
func function(file *ast.File, name string) *ast.FuncDecl {
	for _, d := range file.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Body != nil && qualified(fn) == name {
			return fn
		}
	}
	return nil
}

// qualified returns the name of a function as mutants write it.
func qualified(fn *ast.FuncDecl) string {
	if fn.Recv == nil {
		return fn.Name.Name
	}
	of := fn.Recv.List[0].Type
	if star, ok := of.(*ast.StarExpr); ok {
		of = star.X
	}
	if generic, ok := of.(*ast.IndexExpr); ok {
		of = generic.X
	}
	if ident, ok := of.(*ast.Ident); ok {
		return ident.Name + "." + fn.Name.Name
	}
	return fn.Name.Name
}
