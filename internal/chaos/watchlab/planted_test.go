package watchlab_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/chaos/watchlab"
)

const (
	// plantedVariable, set to 1, plays all planted faults; or those that it names, by commas.
	plantedVariable = "CONCLAVE_WATCHLAB_PLANTED"
	// shortRun is how many bouts a planted fault may take until it is found: what `make chaos`
	// plays.
	shortRun = "24"
	// watched is the folder of the package that faults are put into.
	watched = "../../../watch"
)

// planted is a fault that is put into package watch, by edits of its source, and must be
// found. The source itself is left alone: go test compiles the edited files in its place.
type planted struct {
	name   string
	what   string
	checks []watchlab.Check // one of which must find it
	edits  []edit
}

// edit replaces a piece of a file that occurs once.
type edit struct{ file, old, new string }

// plant writes the edited files, and what tells go test of them, whose name it returns.
func (p planted) plant(t *testing.T) (overlay string) {
	t.Helper()
	dir := t.TempDir()
	replace := make(map[string]string)
	for _, e := range p.edits {
		path, err := filepath.Abs(filepath.Join(watched, e.file))
		require.NoError(t, err)
		at, ok := replace[path]
		if !ok {
			at = path
		}
		text, err := os.ReadFile(at)
		require.NoError(t, err)
		require.Equal(t, 1, strings.Count(string(text), e.old), "%s: %s does not have once what is to be replaced:\n%s", p.name, e.file, e.old)
		replace[path] = filepath.Join(dir, e.file)
		require.NoError(t, os.WriteFile(replace[path], []byte(strings.Replace(string(text), e.old, e.new, 1)), 0o600))
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	require.NoError(t, err)
	overlay = filepath.Join(dir, "overlay.json")
	require.NoError(t, os.WriteFile(overlay, text, 0o600))
	return overlay
}

func TestPlantedFaultsCanStillBePlanted(t *testing.T) {
	t.Parallel()
	names := make(map[string]bool)
	for _, p := range faults() {
		require.False(t, names[p.name], "two of name %s", p.name)
		names[p.name] = true
		require.NotEmpty(t, p.checks, p.name)
		p.plant(t)
	}
	require.GreaterOrEqual(t, len(names), 10)
}

func TestTheDocumentationKnowsFaultsChecksAndPlantedFaults(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../../docs/chaos.md")
	require.NoError(t, err)
	for seed := range uint64(300) {
		for _, r := range watchlab.NewPlan(seed).Rounds {
			for _, s := range r.Strikes {
				require.True(t, bytes.Contains(text, []byte("`"+s.Fault+"`")), s.Fault)
			}
		}
	}
	for _, p := range faults() {
		require.True(t, bytes.Contains(text, []byte("| `"+p.name+"` | "+p.what+" |")), p.name)
		for _, c := range p.checks {
			require.True(t, bytes.Contains(text, []byte("| `"+c+"` |")), c)
		}
	}
}

// TestEveryPlantedFaultIsFound proves that the lab finds what it is there to find, within a
// short run.
func TestEveryPlantedFaultIsFound(t *testing.T) {
	which := os.Getenv(plantedVariable)
	if which == "" {
		t.Skipf("SKIPPED %s: it takes many minutes; %s=1 plays it", t.Name(), plantedVariable)
	}
	for _, p := range faults() {
		if which != "1" && !slices.Contains(strings.Split(which, ","), p.name) {
			continue
		}
		t.Run(p.name, func(t *testing.T) {
			began := time.Now()
			out := p.play(t)
			found := findings(out)
			require.NotEmpty(t, found, "%s: not found in %s bouts\n%s", p.what, shortRun, out)
			if !slices.ContainsFunc(found, func(f finding) bool { return slices.Contains(p.checks, f.check) }) {
				require.Fail(t, "found otherwise", "%s: not by %v\n%s", p.what, p.checks, out)
			}
			t.Logf("%s: found in bout %d, after %v: %s", p.what, bytes.Count(out, []byte("nothing found"))+1, time.Since(began).Round(time.Second), found[0].text)
		})
	}
}

// play runs the lab with the fault, and returns what it says.
func (p planted) play(t *testing.T) []byte {
	t.Helper()
	//nolint:gosec // its own package, with its own edits
	cmd := exec.CommandContext(t.Context(), "go", "test", "-overlay", p.plant(t), "-count=1", "-timeout=30m", "-v", "-run=^TestWatchesTellTheTruthUnderFaults$", ".")
	seed := os.Getenv(watchlab.SeedVariable)
	if seed == "" {
		seed = "1"
	}
	cmd.Env = append(os.Environ(), watchlab.BoutsVariable+"="+shortRun, watchlab.SeedVariable+"="+seed)
	out, err := cmd.CombinedOutput()
	if err == nil {
		return out
	}
	require.NotContains(t, string(out), "[build failed]", p.name)
	return out
}

// finding is a line of a report.
type finding struct {
	check watchlab.Check
	text  string
}

func findings(out []byte) (all []finding) {
	for _, m := range regexp.MustCompile(`FOUND (\w+): (.*)`).FindAllSubmatch(out, -1) {
		all = append(all, finding{watchlab.Check(m[1]), string(m[0])})
	}
	return all
}
