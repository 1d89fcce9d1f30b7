package main

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/conclave-go/conclave/internal/tempdir"
)

const module = "github.com/conclave-go/conclave"

// modules are where blocks may be compiled, in the order in which they are tried.
func modules() []string {
	return []string{".", "conclaveprom", "conclaveotel", "conclavegrpc", "examples", outside}
}

// outside is the module that is no part of the workspace.
const outside = "internal/compare"

// importPaths says what packages fragments mean.
func importPaths() map[string]string {
	paths := map[string]string{
		"clientv3":       "go.etcd.io/etcd/client/v3",
		"concurrency":    "go.etcd.io/etcd/client/v3/concurrency",
		"redis":          "github.com/redis/go-redis/v9",
		"redsync":        "github.com/go-redsync/redsync/v4",
		"redsyncredis":   "github.com/go-redsync/redsync/v4/redis",
		"goredis":        "github.com/go-redsync/redsync/v4/redis/goredis/v9",
		"leaderelection": "k8s.io/client-go/tools/leaderelection",
		"resourcelock":   "k8s.io/client-go/tools/leaderelection/resourcelock",
		"kubernetes":     "k8s.io/client-go/kubernetes",
		"metav1":         "k8s.io/apimachinery/pkg/apis/meta/v1",
		"require":        "github.com/stretchr/testify/require",
		"slog":           "log/slog",
		"http":           "net/http",
		"exec":           "os/exec",
		"prometheus":     "github.com/prometheus/client_golang/prometheus",
		"promhttp":       "github.com/prometheus/client_golang/prometheus/promhttp",
		"redlockprom":    module + "/conclaveprom/redlockprom",
		"otel":           "go.opentelemetry.io/otel",
		"trace":          "go.opentelemetry.io/otel/trace",
		"sql":            "database/sql",
		"etcdtest":       module + "/internal/etcdtest",
	}
	for _, std := range []string{"context", "errors", "fmt", "log", "os", "slices", "sync", "testing", "time"} {
		paths[std] = std
	}
	for _, own := range []string{"conclavegrpc", "conclaveotel", "conclaveprom", "conclavetest", "election", "lease", "lock", "redlock", "shard", "watch"} {
		paths[own] = module + "/" + own
	}
	return paths
}

// code is a block made into a file of its own package.
type code struct {
	page    *page
	block   block
	text    string
	imports []string
}

// checkGo compiles all Go blocks.
func checkGo(t *tree) ([]finding, error) {
	var found []finding
	byModule := map[string][]code{}
	for _, p := range t.sorted() {
		for _, b := range p.blocks {
			if b.lang != "go" {
				continue
			}
			c, err := newCode(p, b)
			if err != nil {
				found = append(found, finding{p.path, b.line, "Go block: " + err.Error()})
				continue
			}
			home, err := t.home(c)
			if err != nil {
				found = append(found, finding{p.path, b.line, "Go block: " + err.Error()})
				continue
			}
			byModule[home] = append(byModule[home], c)
		}
	}
	for _, m := range append(modules(), workspace) {
		wrong, err := t.compile(m, byModule[m])
		if err != nil {
			return nil, err
		}
		found = append(found, wrong...)
	}
	return found, nil
}

// declaration is a line that can stand at the top level only, or as well there.
var declaration = regexp.MustCompile(`(?m)^(?:func|type|import) `)

// newCode completes a block and parses it.
func newCode(p *page, b block) (code, error) {
	c := code{page: p, block: b}
	first := firstCode(b.text)
	where := fmt.Sprintf("//line %s:%d\n", p.path, b.line+1)
	switch {
	case strings.HasPrefix(first, "package "):
		c.text = where + b.text
	case declaration.MatchString(b.text):
		c.text = fragment(b, where+b.text)
	default:
		c.text = fragment(b, "func _("+given(b.text)+") error {\n{\n"+where+b.text+"}\nreturn nil\n}\n")
	}
	f, err := parser.ParseFile(token.NewFileSet(), "", c.text, parser.SkipObjectResolution)
	if err != nil {
		return c, fmt.Errorf("not Go: %w", err)
	}
	for _, i := range f.Imports {
		path, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			return c, err
		}
		c.imports = append(c.imports, path)
	}
	return c, c.allowed(f)
}

// given returns the parameters that a fragment uses.
func given(text string) string {
	var out strings.Builder
	for _, p := range []string{"ctx context.Context", "client *clientv3.Client", "session *lease.Session"} {
		name, _, _ := strings.Cut(p, " ")
		if regexp.MustCompile(`\b` + name + `\b`).MatchString(text) {
			out.WriteString(p + ", ")
		}
	}
	return out.String()
}

// allowed refuses what readers cannot import.
func (c *code) allowed(f *ast.File) error {
	for _, path := range c.imports {
		if strings.HasPrefix(path, module+"/internal/") && !strings.HasSuffix(f.Name.Name, "_test") {
			return fmt.Errorf("imports %s, which readers cannot", path)
		}
	}
	return nil
}

// firstCode returns the first line that is neither empty nor a comment.
func firstCode(text string) string {
	for line := range strings.SplitSeq(text, "\n") {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "//") {
			return line
		}
	}
	return ""
}

// fragment puts a package clause, imports and the block's preamble before a body.
func fragment(b block, body string) string {
	var out strings.Builder
	out.WriteString("package block\n")
	paths := importPaths()
	for _, name := range slices.Sorted(maps.Keys(paths)) {
		used := regexp.MustCompile(`(?:^|[^\w."/])` + name + `\.[A-Z]`)
		if used.MatchString(b.preamble + body) {
			fmt.Fprintf(&out, "import %s %q\n", name, paths[name])
		}
	}
	for line := range strings.SplitSeq(b.preamble, "\n") { // functions need no bodies there
		if strings.HasPrefix(line, "func ") && !strings.HasSuffix(strings.TrimSpace(line), "{") && !strings.HasSuffix(line, "}") {
			line += ` { panic("") }`
		}
		out.WriteString(line + "\n")
	}
	out.WriteString(body)
	return out.String()
}

// workspace stands for all modules of go.work at once.
const workspace = "go.work"

// home returns the module whose go.mod has all that a block imports, or the workspace.
func (t *tree) home(c code) (string, error) {
	var joined strings.Builder
	for _, m := range modules() {
		mod, err := os.ReadFile(filepath.Join(t.root, m, "go.mod"))
		if err != nil {
			continue
		}
		if c.isProvided(string(mod)) {
			return m, nil
		}
		if m != outside {
			joined.Write(mod)
		}
	}
	if c.isProvided(joined.String()) {
		return workspace, nil
	}
	return "", fmt.Errorf("no module here has all of %s", strings.Join(c.imports, ", "))
}

func (c *code) isProvided(mod string) bool {
	return !slices.ContainsFunc(c.imports, func(path string) bool { return !provides(mod, path) })
}

var modulePath = regexp.MustCompile(`(?m)^(?:module |require |\t)(\S+\.\S+/?\S*)`)

// provides reports whether a module or what it requires may have a package.
func provides(mod, path string) bool {
	if first, _, _ := strings.Cut(path, "/"); !strings.Contains(first, ".") {
		return true // of the standard library
	}
	nested := func(p string) bool {
		return strings.HasPrefix(p, module+"/conclaveprom") || strings.HasPrefix(p, module+"/conclaveotel") || strings.HasPrefix(p, module+"/conclavegrpc")
	}
	for _, m := range modulePath.FindAllStringSubmatch(mod, -1) {
		if nested(path) != nested(m[1]) {
			continue
		}
		if path == m[1] || strings.HasPrefix(path, m[1]+"/") {
			return true
		}
	}
	return false
}

// compile type-checks blocks as packages of a module that exist in an overlay only.
func (t *tree) compile(home string, blocks []code) ([]finding, error) {
	if len(blocks) == 0 {
		return nil, nil
	}
	made, err := tempdir.Make("docscheck")
	if err != nil {
		return nil, err
	}
	defer func() { _ = made.Remove() }() // the next run tries again
	temp := made.Path()
	dir, env := home, append(os.Environ(), "GOFLAGS=-mod=readonly")
	if home == workspace {
		dir = "."
	} else {
		env = append(env, "GOWORK=off")
	}
	root, err := filepath.Abs(filepath.Join(t.root, dir))
	if err != nil {
		return nil, err
	}
	replace := map[string]string{}
	for i, c := range blocks {
		name := filepath.Join(temp, strconv.Itoa(i)+".go")
		if err := os.WriteFile(name, []byte(c.text), 0o600); err != nil {
			return nil, err
		}
		replace[filepath.Join(root, "docscheckblocks", "b"+strconv.Itoa(i), "block.go")] = name
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return nil, err
	}
	list := filepath.Join(temp, "overlay.json")
	if err := os.WriteFile(list, overlay, 0o600); err != nil {
		return nil, err
	}
	// Not go vet: it changes into the folder of each package.
	cmd := exec.Command("go", "build", "-gcflags=-e", "-overlay", list, "./docscheckblocks/...")
	cmd.Dir, cmd.Env = root, env
	out, err := cmd.CombinedOutput()
	if err == nil {
		return nil, nil
	}
	return compilerFindings(string(out), blocks), nil
}

// isFragment reports whether a line of a page is in a block without a package clause. Such
// may leave it to the reader to use what it declares.
func isFragment(blocks []code, file string, line int) bool {
	return slices.ContainsFunc(blocks, func(c code) bool {
		end := c.block.line + strings.Count(c.block.text, "\n")
		return c.page.path == file && c.block.line < line && line <= end && !strings.HasPrefix(firstCode(c.block.text), "package ")
	})
}

var compilerLine = regexp.MustCompile(`(?m)^(?:vet: )?\.*/?(?:\S*/)?docscheckblocks/b\d+/(\S+\.md):(\d+):(?:\d+:)? (.*)$|^(?:vet: )?(\S+\.md):(\d+):(?:\d+:)? (.*)$`)

// compilerFindings reads what go build has printed. The file names are those of the line
// directives, relative to the folder of each block.
func compilerFindings(out string, blocks []code) []finding {
	var found []finding
	for _, m := range compilerLine.FindAllStringSubmatch(out, -1) {
		file, line, what := m[1]+m[4], m[2]+m[5], m[3]+m[6]
		n, err := strconv.Atoi(line)
		if err != nil || isFragment(blocks, file, n) && strings.HasPrefix(what, "declared and not used") {
			continue
		}
		found = append(found, finding{file, n, "Go block: " + what})
	}
	if !compilerLine.MatchString(out) { // something else is wrong: let the reader see
		found = append(found, finding{blocks[0].page.path, blocks[0].block.line, "go build: " + strings.TrimSpace(out)})
	}
	return found
}
