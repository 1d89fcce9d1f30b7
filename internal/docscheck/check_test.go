package main

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// repository is a small one in which everything a page may name exists.
func repository(t *testing.T, pages map[string]string) string {
	t.Helper()
	root := t.TempDir()
	files := map[string]string{
		"go.mod":                   "module " + module + "\n\ngo 1.26.0\n",
		"Makefile":                 "X := 1\n.PHONY: all\nall: test\ntest:\n\tgo test ./...\n",
		"script":                   "",
		"examples/play/main.go":    "package main\n\nimport \"flag\"\n\nfunc main() { flag.Bool(\"crash\", false, \"\") }\n",
		"examples/part/part.go":    "package part\n",
		"lib/lib.go":               "package lib\n\nfunc Answer() int { return 42 }\n",
		"lib/lib_test.go":          "package lib\n\nfunc TestAnswerIsRight(*testing.T) {}\n",
		"internal/inner/inner.go":  "package inner\n",
		"testdata/not/ours.md":     "[gone](nowhere.md)\n",
		"docs/other.md":            "# Other\n\n## What is `it`, then?\n\n## Twice\n\n## Twice\n\n<a id=\"mark\"></a>\n",
		"examples/internal/x/x.go": "package x\n\nconst shared = \"endpoints\"\n",
	}
	maps.Copy(files, pages)
	for name, text := range files {
		path := filepath.Join(root, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o750))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	return root
}

// report returns what is found on a page of the given text.
func report(t *testing.T, text string) []string {
	t.Helper()
	out, n, err := run(repository(t, map[string]string{"README.md": text}))
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if n == 0 {
		require.Len(t, lines, 1)
		require.Contains(t, lines[0], "docscheck: 2 pages", "the summary")
		return nil
	}
	require.Len(t, lines, n)
	return lines
}

func sh(commands string) string    { return "```sh\n" + commands + "\n```\n" }
func golang(block string) string   { return "```go\n" + block + "\n```\n" }
func lines(texts ...string) string { return strings.Join(texts, "\n") }

func TestWhatIsTrueIsNotReported(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"links": lines("# Top", "[a](docs/other.md) [b](docs/other.md#what-is-it-then) [c](#top)", "[d](docs/other.md#twice-1)",
			"[e](docs/other.md#mark) [f](docs) [g](lib/lib.go#L3) [h](https://example.com/no) [i]", "", "[i]: lib/lib.go", "[^j]: Note of [k](script).",
			"<img src=\"script\">", "`[not](a-link.md)`"),
		"commands": sh(lines("go run ./examples/play -crash -endpoints x | less # -no", "$ make test X=2", "cd lib && go test -race -run 'Answer/sub' . ./...",
			"A=1 bash script go test ./lib", "go test -run TestName ./lib", "echo anything")) + "`go run ./examples/<name>`, `make`, `bash script`\n",
		"names": "`TestAnswerIsRight`, `TestName(t)`\n",
		"Go": golang("n := 1\nif n > 0 {\n\treturn fmt.Errorf(\"n\")\n}") + // on one page, since each page starts go build
			golang("return nil") +
			golang("n := 1") +
			golang("// Comment.\nfunc f() time.Duration { return 0 }") +
			golang("package main\n\nimport \""+module+"/lib\"\n\nfunc main() { println(lib.Answer()) }") +
			golang("package lib_test\n\nimport _ \""+module+"/internal/inner\"") +
			"<!-- go\nfunc answer() int\ntype t struct{}\n-->\n\n" + golang("var x t\n_, _ = x, answer()") +
			"<!-- file: lib/lib.go -->\n\n" + golang("package lib\n\nfunc Answer() int { return 42 }"),
		"other": "```text\n[no](link.md) go run ./nowhere\n```\n\n```json\n{\n```\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Empty(t, report(t, text))
		})
	}
}

func TestWhatIsNotTrueIsReportedWithItsPlace(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ text, want string }{
		"file":        {"\n[a](docs/gone.md)", "README.md:2: link docs/gone.md: no such file"},
		"image":       {"<img src=\"gone.svg\">", "README.md:1: link gone.svg: no such file"},
		"definition":  {"[a]\n\n[a]: gone.md", "README.md:3: link gone.md: no such file"},
		"footnote":    {"[^a]: See [b](gone.md).", "README.md:1: link gone.md: no such file"},
		"heading":     {"[a](docs/other.md#gone)", "README.md:1: link docs/other.md#gone: no heading of that name in docs/other.md"},
		"own heading": {"# Top\n[a](#bottom)", "README.md:2: link #bottom: no heading of that name in README.md"},
		"line":        {"[a](lib/lib.go#L4)", "README.md:1: link lib/lib.go#L4: no such line"},
		"outside":     {"[a](../x.md)", "README.md:1: link ../x.md: leaves the repository"},
		"absolute":    {"[a](/docs/other.md)", "README.md:1: link /docs/other.md: is absolute: must be relative to the page"},
		"folder":      {sh("\ngo run ./examples/gone"), `README.md:3: command "go run ./examples/gone": there is no ./examples/gone`},
		"program":     {sh("go run ./examples/part"), `README.md:2: command "go run ./examples/part": it is no program`},
		"flag":        {sh("go run ./examples/play -pause"), `README.md:2: command "go run ./examples/play -pause": it has no flag -pause`},
		"target":      {sh("make gone"), `README.md:2: command "make gone": the Makefile has no target gone`},
		"script":      {"`bash ./gone`", `README.md:1: command "bash ./gone": there is no ./gone`},
		"run":         {sh("go test -run Gone ./lib"), `README.md:2: command "go test -run Gone ./lib": no test matches Gone`},
		"cd":          {sh("cd gone && make"), `README.md:2: command "cd gone && make": there is no gone`},
		"after cd":    {sh("cd lib && go vet ./lib"), `README.md:2: command "cd lib && go vet ./lib": there is no ./lib`},
		"indented":    {"So:\n\n    make gone  # not\n", `README.md:3: command "make gone": the Makefile has no target gone`},
		"span":        {"`make gone`", `README.md:1: command "make gone": the Makefile has no target gone`},
		"test":        {"`TestGone`", "README.md:1: TestGone: no test has that name"},
		"syntax":      {golang("package p\n\nfunc {"), "README.md:1: Go block: not Go: README.md:4"},
		"import":      {golang("package p\n\nimport _ \"example.com/gone\""), "README.md:1: Go block: no module here has all of example.com/gone"},
		"inner":       {golang("package p\n\nimport _ \"" + module + "/internal/inner\""), "README.md:1: Go block: imports " + module + "/internal/inner, which readers cannot"},
		"copy":        {"<!-- file: lib/lib.go -->\n```text\npackage lib\n\nfunc Answer() int { return 43 }\n```\n", "README.md:2: not what is in lib/lib.go"},
		"lost copy":   {"<!-- file: lib/gone.go -->\n```text\npackage lib\n```\n", "README.md:2: copy of a file: open"},
		"package":     {golang("package p\n\nimport _ \"" + module + "/gone\""), "README.md"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found := report(t, c.text)
			require.Len(t, found, 1, found)
			require.Contains(t, found[0], c.want)
		})
	}
}

func TestEachBrokenBlockIsReported(t *testing.T) {
	t.Parallel()
	found := report(t, lines(
		"```go", "package p", "", "var x int = \"\"", "```",
		"```go", "package p", "", "func f() {", "\tn := 1", "}", "```",
		"```go", "n := 1", "m := k", "```",
		"```go", "package q", "", "var y = z", "```",
		"```go", "package r", "```", ""))
	require.Len(t, found, 4, found)
	require.Contains(t, found[0], "README.md:4: Go block: cannot use")
	require.Contains(t, found[1], "README.md:10: Go block: declared and not used: n")
	require.Contains(t, found[2], "README.md:15: Go block: undefined: k")
	require.Contains(t, found[3], "README.md:20: Go block: undefined: z")
}
