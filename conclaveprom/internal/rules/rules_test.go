package rules_test

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/model/textparse"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/conclave-go/conclave/conclaveprom"
	"github.com/conclave-go/conclave/conclaveprom/internal/traffic"
	"github.com/conclave-go/conclave/conclaveprom/redlockprom"
	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/redistest"
)

// go-redis looks once a second whether a server is back, for up to a second after its
// client was closed.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

// guard is how long a test waits for what must happen; only a failure takes that long.
const guard = 5 * time.Minute

// docs is where the rules and the dashboard are.
func docs(file string) string {
	return filepath.Join("..", "..", "..", "docs", "observability", file)
}

// series are what a scrape shows: the labels of each metric, with all their values.
type series map[string]map[string]map[string]bool

// scrape returns what a program shows that has done what it can.
func scrape(t *testing.T) series {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), guard)
	t.Cleanup(cancel)
	c := etcdtest.New(t)
	etcd, err := conclaveprom.New()
	require.NoError(t, err)
	stop, err := traffic.Etcd(ctx, c.Client(t), c.Client(t), c.Prefix(t), etcd)
	require.NoError(t, err)
	defer func() { require.NoError(t, stop(ctx)) }()
	nodes := redistest.NewEmbedded(t, 3)
	redlock, err := redlockprom.New()
	require.NoError(t, err)
	require.NoError(t, traffic.Redis(ctx, nodes.Net(t).Clients(t, func(*redis.Options) {}), redlock,
		func() { nodes.Node(0).Kill(t); nodes.Node(1).Kill(t) }))

	registry := prometheus.NewRegistry()
	registry.MustRegister(etcd, redlock)
	server := httptest.NewServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	defer server.Close()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL, nil)
	require.NoError(t, err)
	resp, err := server.Client().Do(req)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return read(t, body, resp.Header.Get("Content-Type"))
}

// read parses what was scraped, as a server does.
func read(t *testing.T, body []byte, contentType string) series {
	t.Helper()
	p, err := textparse.New(body, contentType, labels.NewSymbolTable(), textparse.ParserOptions{})
	require.NoError(t, err)
	all := make(series)
	for {
		kind, err := p.Next()
		if err != nil {
			require.ErrorIs(t, err, io.EOF)
			return all
		}
		if kind != textparse.EntrySeries {
			continue
		}
		var ls labels.Labels
		p.Labels(&ls)
		name := ls.Get(model.MetricNameLabel)
		if all[name] == nil {
			// What a server adds to each series.
			all[name] = map[string]map[string]bool{"job": {}, "instance": {}}
		}
		ls.Range(func(l labels.Label) {
			if all[name][l.Name] == nil {
				all[name][l.Name] = make(map[string]bool)
			}
			all[name][l.Name][l.Value] = true
		})
	}
}

// check requires that what an expression names is in the scrape: metrics, the labels it
// selects and groups by, and the values that it selects.
func (s series) check(t *testing.T, expr string) (metrics []string) {
	t.Helper()
	parsed, err := parser.ParseExpr(expr)
	require.NoError(t, err, expr)
	var grouped []string
	parser.Inspect(parsed, func(n parser.Node, _ []parser.Node) error {
		switch n := n.(type) {
		case *parser.AggregateExpr:
			grouped = append(grouped, n.Grouping...)
		case *parser.VectorSelector:
			metrics = append(metrics, n.Name)
			require.Contains(t, s, n.Name, expr)
			for _, m := range n.LabelMatchers {
				if m.Name == model.MetricNameLabel {
					continue
				}
				require.Contains(t, s[n.Name], m.Name, "%s: %s", expr, n.Name)
				if m.Name != "job" && (m.Type == labels.MatchEqual || m.Type == labels.MatchRegexp) {
					s.requireValue(t, n.Name, m)
				}
			}
		}
		return nil
	})
	require.NotEmpty(t, metrics, expr)
	for _, label := range grouped {
		require.True(t, slices.ContainsFunc(metrics, func(m string) bool { _, ok := s[m][label]; return ok }), "%s: %s", expr, label)
	}
	return metrics
}

// rare are values that the program does not bring about.
var rare = []string{"refused|other"}

func (s series) requireValue(t *testing.T, metric string, m *labels.Matcher) {
	t.Helper()
	values := slices.Collect(maps.Keys(s[metric][m.Name]))
	if slices.Contains(rare, m.Value) {
		return
	}
	require.True(t, slices.ContainsFunc(values, m.Matches), "%s{%v}: there are %v", metric, m, values)
}

func TestRulesAndDashboardSpeakOfWhatIsScraped(t *testing.T) {
	t.Parallel()
	s := scrape(t)
	used := make(map[string]bool)
	note := func(metrics []string) {
		for _, m := range metrics {
			used[regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(m, "")] = true
		}
	}
	for _, expr := range alerts(t) {
		note(s.check(t, expr))
	}
	for _, expr := range panels(t) {
		note(s.check(t, expr))
	}
	// And the other way round: the dashboard leaves nothing out.
	for name := range s {
		require.Contains(t, used, regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(name, ""))
	}
}

// alerts returns the expressions of the rules, which Prometheus' own parser has taken.
func alerts(t *testing.T) (exprs []string) {
	t.Helper()
	groups, errs := rulefmt.ParseFile(docs("alerts.yml"), false, model.UTF8Validation)
	require.Empty(t, errs)
	manual, err := os.ReadFile(docs("README.md"))
	require.NoError(t, err)
	for _, g := range groups.Groups {
		for _, r := range g.Rules {
			exprs = append(exprs, r.Expr)
			require.Contains(t, string(manual), "`"+r.Alert+"`", "the manual says what to do")
			require.NotEmpty(t, r.Annotations["summary"], r.Alert)
			require.NotEmpty(t, r.Labels["severity"], r.Alert)
		}
	}
	require.NotEmpty(t, exprs)
	return exprs
}

// requireVariable in the environment makes the absence of promtool a failure.
const requireVariable = "CONCLAVE_REQUIRE_PROMTOOL"

func TestAlertsNoticeTheFirstTime(t *testing.T) {
	t.Parallel()
	tool, err := exec.LookPath("promtool")
	if err != nil && os.Getenv(requireVariable) == "" {
		t.Skip("there is no promtool: install it (Debian: apt install prometheus)")
	}
	require.NoError(t, err)
	out, err := exec.CommandContext(t.Context(), tool, "test", "rules", docs("alerts_test.yml")).CombinedOutput()
	require.NoError(t, err, string(out))
	tests, err := os.ReadFile(docs("alerts_test.yml"))
	require.NoError(t, err)
	rules, err := os.ReadFile(docs("alerts.yml"))
	require.NoError(t, err)
	for _, m := range regexp.MustCompile(`- alert: (\w+)`).FindAllStringSubmatch(string(rules), -1) {
		require.Contains(t, string(tests), "alertname: "+m[1]+"\n", "each alert is seen firing")
	}
}

// panels returns the expressions of the dashboard, with Grafana's variables filled in.
func panels(t *testing.T) (exprs []string) {
	t.Helper()
	text, err := os.ReadFile(docs("dashboard.json"))
	require.NoError(t, err)
	var dashboard struct {
		Panels []struct {
			ID      int
			Title   string
			Type    string
			GridPos struct{ X, Y, W, H int }
			Targets []struct{ Expr string }
		}
	}
	require.NoError(t, json.Unmarshal(text, &dashboard))
	seen := make(map[int]bool)
	fill := strings.NewReplacer("$__rate_interval", "5m", "$job", ".*")
	for _, p := range dashboard.Panels {
		require.False(t, seen[p.ID], "panel %d is there twice", p.ID)
		seen[p.ID] = true
		require.LessOrEqual(t, p.GridPos.X+p.GridPos.W, 24, p.Title)
		require.True(t, p.Type == "row" || len(p.Targets) > 0, p.Title)
		for _, target := range p.Targets {
			exprs = append(exprs, fill.Replace(target.Expr))
		}
	}
	require.NotEmpty(t, exprs)
	return exprs
}
