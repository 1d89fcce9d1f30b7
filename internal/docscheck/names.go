package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

var (
	testName = regexp.MustCompile(`^(?:Test|Benchmark|Example|Fuzz)[A-Z]\w*$`)
	testFunc = regexp.MustCompile(`(?m)^func ((?:Test|Benchmark|Example|Fuzz)\w*)\(`)
)

// checkNames finds tests named in code spans that do not exist.
func checkNames(t *tree) ([]finding, error) {
	known, err := testsBelow(t.root)
	if err != nil {
		return nil, err
	}
	var found []finding
	for _, p := range t.sorted() {
		for _, s := range p.spans {
			if testName.MatchString(s.text) && !known[s.text] {
				found = append(found, finding{p.path, s.line, s.text + ": no test has that name"})
			}
		}
	}
	return found, nil
}

// testsBelow returns the names of all tests, benchmarks and examples below a folder.
func testsBelow(root string) (map[string]bool, error) {
	known := map[string]bool{}
	return known, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && skipped(d.Name()):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		text, err := os.ReadFile(path)
		for _, m := range testFunc.FindAllStringSubmatch(string(text), -1) {
			known[m[1]] = true
		}
		return err
	})
}
