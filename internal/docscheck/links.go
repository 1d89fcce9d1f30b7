package main

import (
	"fmt"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// checkLinks finds links within the repository that lead nowhere.
func checkLinks(t *tree) ([]finding, error) {
	var found []finding
	for _, p := range t.sorted() {
		for _, l := range p.links {
			if what := t.follow(p, l.target); what != "" {
				found = append(found, finding{p.path, l.line, fmt.Sprintf("link %s: %s", l.target, what)})
			}
		}
	}
	return found, nil
}

// follow returns why a link leads nowhere, or nothing.
func (t *tree) follow(from *page, target string) string {
	u, err := url.Parse(target)
	switch {
	case err != nil:
		return err.Error()
	case u.Scheme != "" || u.Host != "":
		return ""
	case strings.HasPrefix(u.Path, "/"):
		return "is absolute: must be relative to the page"
	}
	to := from.path
	if u.Path != "" {
		to = path.Join(path.Dir(from.path), u.Path)
	}
	if strings.HasPrefix(to, "../") {
		return "leaves the repository"
	}
	name := filepath.Join(t.root, filepath.FromSlash(to))
	if _, err := os.Stat(name); err != nil {
		return "no such file"
	}
	if u.Fragment == "" {
		return ""
	}
	return t.anchor(to, name, u.Fragment)
}

// anchor returns why a file does not have an anchor, or nothing.
func (t *tree) anchor(to, name, fragment string) string {
	if p, ok := t.pages[to]; ok {
		if !p.anchors[fragment] {
			return "no heading of that name in " + to
		}
		return ""
	}
	number, ok := strings.CutPrefix(fragment, "L")
	if !ok {
		return "only pages have headings"
	}
	first, _, _ := strings.Cut(number, "-")
	n, err := strconv.Atoi(first)
	text, readErr := os.ReadFile(name)
	if err != nil || readErr != nil || n < 1 || n > strings.Count(string(text), "\n") {
		return "no such line"
	}
	return ""
}
