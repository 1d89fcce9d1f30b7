package main

import (
	"cmp"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// finding is something that is not as a page says.
type finding struct {
	file string
	line int
	what string
}

func (f finding) String() string { return fmt.Sprintf("%s:%d: %s", f.file, f.line, f.what) }

// tree is the repository: its root and its pages by their path in it.
type tree struct {
	root  string
	pages map[string]*page
}

func main() {
	root := "."
	if len(os.Args) > 1 {
		root = os.Args[1]
	}
	report, found, err := run(root)
	if err == nil {
		_, err = os.Stdout.WriteString(report)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "docscheck:", err)
		os.Exit(2)
	}
	if found > 0 {
		fmt.Fprintf(os.Stderr, "docscheck: %d findings\n", found)
		os.Exit(1)
	}
}

// run returns a report on the pages below root and how many findings are in it.
func run(root string) (report string, found int, err error) {
	t, err := load(root)
	if err != nil {
		return "", 0, err
	}
	var all []finding
	for _, check := range []func(*tree) ([]finding, error){checkLinks, checkCommands, checkNames, checkCopies, checkGo} {
		findings, err := check(t)
		if err != nil {
			return "", 0, err
		}
		all = append(all, findings...)
	}
	slices.SortFunc(all, func(a, b finding) int {
		return cmp.Or(strings.Compare(a.file, b.file), cmp.Compare(a.line, b.line), strings.Compare(a.what, b.what))
	})
	all = slices.Compact(all)
	var out strings.Builder
	for _, f := range all {
		fmt.Fprintln(&out, f)
	}
	if len(all) == 0 {
		fmt.Fprintf(&out, "docscheck: %d pages, %d links, %d Go blocks, %d commands\n",
			len(t.pages), t.count((*page).countLinks), t.count((*page).countGo), t.count((*page).countCommands))
	}
	return out.String(), len(all), nil
}

func (t *tree) count(of func(*page) int) (n int) {
	for _, p := range t.pages {
		n += of(p)
	}
	return n
}

// skipped are folders without pages of ours.
func skipped(name string) bool {
	return name == ".git" || name == "bin" || name == "node_modules" || name == "testdata"
}

// load reads all pages below root.
func load(root string) (*tree, error) {
	t := &tree{root: root, pages: map[string]*page{}}
	return t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && skipped(d.Name()):
			return fs.SkipDir
		case d.IsDir() || filepath.Ext(path) != ".md":
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		t.pages[rel] = parse(rel, string(text))
		return nil
	})
}

// sorted returns the pages in the order of their paths.
func (t *tree) sorted() []*page {
	pages := make([]*page, 0, len(t.pages))
	for _, p := range t.pages {
		pages = append(pages, p)
	}
	slices.SortFunc(pages, func(a, b *page) int { return strings.Compare(a.path, b.path) })
	return pages
}
