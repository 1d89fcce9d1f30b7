package main

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// commands returns the commands of a page: the lines of its sh blocks, and the code
// spans that begin as a command does.
func (p *page) commands() []span {
	var all []span
	for _, b := range p.blocks {
		if b.lang != "sh" && b.lang != "bash" && b.lang != "shell" && b.lang != "console" {
			continue
		}
		line := b.line
		for text := range strings.SplitSeq(strings.ReplaceAll(b.text, "\\\n", "  "), "\n") {
			line++
			text, _, _ = strings.Cut(" "+text, " #")
			if text = strings.TrimPrefix(strings.TrimSpace(text), "$ "); text != "" {
				all = append(all, span{text, line})
			}
		}
	}
	for _, s := range p.spans {
		if spanCommand.MatchString(s.text) {
			all = append(all, s)
		}
	}
	return all
}

var (
	spanCommand = regexp.MustCompile(`^(?:\w+=\S* )*(?:go run \./|go test |make |bash \.|cd )\S`)
	assignment  = regexp.MustCompile(`^\w+=\S*$`)
	chain       = regexp.MustCompile(`&&|;|\|`)
	makeTarget  = regexp.MustCompile(`(?m)^([a-z][\w-]*):(?:[^=]|$)`)
	placeholder = regexp.MustCompile(`[<>…]|\.\.\.$|\*`)
)

// checkCommands finds commands that name something which does not exist.
func checkCommands(t *tree) ([]finding, error) {
	var found []finding
	for _, p := range t.sorted() {
		for _, s := range p.commands() {
			if strings.HasPrefix(s.text, "git clone ") { // what follows is in a folder that it makes
				continue
			}
			dir := t.root
			for part := range strings.SplitSeq(chain.ReplaceAllString(s.text, "\n"), "\n") {
				after, what := t.command(dir, strings.Fields(part))
				if dir = after; what != "" {
					found = append(found, finding{p.path, s.line, fmt.Sprintf("command %q: %s", s.text, what)})
				}
			}
		}
	}
	return found, nil
}

// command returns what is wrong with a command, and the folder after it.
func (t *tree) command(dir string, words []string) (after, wrong string) {
	for i := range words {
		words[i] = strings.Trim(words[i], `'"()`)
	}
	for len(words) > 0 && assignment.MatchString(words[0]) {
		words = words[1:]
	}
	if len(words) < 2 {
		return dir, ""
	}
	switch rest := words[1:]; words[0] {
	case "cd":
		return filepath.Join(dir, rest[0]), missing(dir, rest[0])
	case "make":
		return dir, targets(dir, rest)
	case "bash", "sh":
		if wrong = missing(dir, rest[0]); wrong == "" { // a script may run another command
			_, wrong = t.command(dir, rest[1:])
		}
		return dir, wrong
	case "go":
		return dir, goCommand(dir, rest)
	}
	return dir, ""
}

func missing(dir, name string) string {
	if placeholder.MatchString(name) {
		return ""
	}
	if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
		return "there is no " + name
	}
	return ""
}

// targets returns which of the words are no targets of the folder's Makefile.
func targets(dir string, words []string) string {
	makefile, err := os.ReadFile(filepath.Join(dir, "Makefile"))
	if err != nil {
		return "there is no Makefile"
	}
	var known []string
	for _, m := range makeTarget.FindAllStringSubmatch(string(makefile), -1) {
		known = append(known, m[1])
	}
	for _, w := range words {
		if !strings.HasPrefix(w, "-") && !strings.Contains(w, "=") && !slices.Contains(known, w) {
			return "the Makefile has no target " + w
		}
	}
	return ""
}

// goCommand returns what is wrong with the arguments of the go command.
func goCommand(dir string, words []string) string {
	verb, words := words[0], words[1:]
	if !slices.Contains([]string{"run", "test", "vet", "build", "doc"}, verb) {
		return ""
	}
	var packages []string
	for i, w := range words {
		if !strings.HasPrefix(w, "./") && w != "." || placeholder.MatchString(strings.TrimSuffix(w, "/...")) {
			continue
		}
		if wrong := missing(dir, strings.TrimSuffix(w, "...")); wrong != "" {
			return wrong
		}
		if verb == "run" {
			return program(filepath.Join(dir, w), words[i+1:])
		}
		packages = append(packages, filepath.Join(dir, strings.TrimSuffix(w, "...")))
	}
	return pattern(packages, words)
}

var programFlag = regexp.MustCompile(`^--?([a-z][\w-]*)`)

// program returns why a folder is no program that takes the given arguments.
func program(dir string, args []string) string {
	text, err := sources(dir)
	if err != nil || !strings.Contains(text, "\npackage main\n") {
		return "it is no program"
	}
	shared, err := filepath.Glob(filepath.Join(path.Dir(dir), "internal", "*"))
	if err != nil {
		return err.Error()
	}
	for _, d := range shared {
		more, err := sources(d)
		if err != nil {
			return err.Error()
		}
		text += more
	}
	for _, a := range args {
		m := programFlag.FindStringSubmatch(a)
		if m != nil && m[1] != "h" && !strings.Contains(text, `"`+m[1]+`"`) {
			return "it has no flag -" + m[1]
		}
	}
	return ""
}

// sources returns all Go code of a folder.
func sources(dir string) (string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	var text strings.Builder
	text.WriteString("\n")
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return "", err
		}
		text.Write(b)
	}
	return text.String(), err
}

// pattern returns the -run or -bench pattern that matches nothing in the packages.
func pattern(packages, words []string) string {
	for i, w := range words[:max(len(words)-1, 0)] {
		expr := words[i+1]
		if w != "-run" && w != "-bench" || expr == "." || expr == "^$" || strings.Contains(expr, "TestName") {
			continue
		}
		top, _, _ := strings.Cut(expr, "/")
		re, err := regexp.Compile(top)
		if err != nil {
			return err.Error()
		}
		if !anyTest(packages, re) {
			return "no test matches " + expr
		}
	}
	return ""
}

func anyTest(packages []string, re *regexp.Regexp) bool {
	for _, dir := range packages {
		known, err := testsBelow(dir)
		for name := range known {
			if err == nil && re.MatchString(name) {
				return true
			}
		}
	}
	return false
}
