package timeline_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/timeline"
)

func write(t *testing.T, p timeline.Page) string {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, p.Write(&b))
	return b.String()
}

// element is one of a page, with the text directly in it.
type element struct {
	name string
	attr map[string]string
	text string
}

func (e element) is(name, class string) bool {
	return e.name == name && strings.Contains(" "+e.attr["class"]+" ", " "+class+" ")
}

// parse reads a page as strictly as XML is read: every element is closed, every
// attribute quoted, every character that means something escaped.
func parse(t *testing.T, page string) []element {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(page))
	var all []element
	var open []int
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			require.Empty(t, open)
			return all
		}
		require.NoError(t, err)
		switch token := token.(type) {
		case xml.StartElement:
			e := element{name: token.Name.Local, attr: make(map[string]string)}
			for _, a := range token.Attr {
				e.attr[a.Name.Local] = a.Value
			}
			open = append(open, len(all))
			all = append(all, e)
		case xml.EndElement:
			open = open[:len(open)-1]
		case xml.CharData:
			if len(open) > 0 {
				all[open[len(open)-1]].text += string(token)
			}
		}
	}
}

// texts returns the texts of the elements of a name and class, "" for any.
func texts(all []element, name, class string) []string {
	var found []string
	for _, e := range all {
		if e.name == name && (class == "" || e.is(name, class)) {
			found = append(found, e.text)
		}
	}
	return found
}

func count(all []element, name, class string) int { return len(texts(all, name, class)) }

func TestPageIsWellFormed(t *testing.T) {
	t.Parallel()
	page := write(t, sample())
	all := parse(t, page)
	assert.True(t, strings.HasPrefix(page, "<!DOCTYPE html>"))
	assert.Equal(t, 5, strings.Count(page, ` role="img"`), "charts that are not empty")
	ids := make(map[string]bool)
	for _, e := range all {
		if id := e.attr["id"]; id != "" {
			assert.False(t, ids[id], "ID %q is used twice", id)
			ids[id] = true
		}
	}
	for _, e := range all {
		for _, ref := range append(strings.Fields(e.attr["aria-labelledby"]), strings.TrimPrefix(e.attr["href"], "#")) {
			assert.True(t, ref == "" || ids[ref], "%s refers to %q", e.name, ref)
		}
	}
}

func TestPageNeedsNothingElse(t *testing.T) {
	t.Parallel()
	page := write(t, sample())
	assert.NotContains(t, page, "http:")
	assert.NotContains(t, page, "https:")
	assert.NotContains(t, page, "@import")
	for _, e := range parse(t, page) {
		assert.NotContains(t, []string{"script", "link", "img", "object", "embed"}, e.name)
		assert.Empty(t, e.attr["src"])
		assert.True(t, e.attr["href"] == "" || e.attr["href"][0] == '#')
	}
}

func TestSamePageIsTheSameBytes(t *testing.T) {
	t.Parallel()
	p := sample()
	for i := range 20 {
		p.Charts[0].Lanes = append(p.Charts[0].Lanes, timeline.Lane{
			Name: fmt.Sprint(i), Group: fmt.Sprint(i % 7), Bars: []timeline.Bar{{From: 10, To: 20}},
		})
	}
	first := write(t, p)
	for range 5 {
		require.Equal(t, first, write(t, p))
	}
}

// poison is set as every text of a page.
const poison = `</style></title><script>alert("1")</script><!-- ' & {{.}} -->`

// fill sets every string below v, but for those that are of types of their own.
func fill(v reflect.Value, value string) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(value)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), value)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fill(v.Index(i), value)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if name := v.Type().Field(i).Name; name != "ID" && name != "Chart" {
				fill(v.Field(i), value)
			}
		}
	case reflect.Int64:
		v.SetInt(int64(time.Second))
	default:
	}
}

func TestEveryTextIsEscaped(t *testing.T) {
	t.Parallel()
	var p timeline.Page
	fill(reflect.ValueOf(&p).Elem(), poison)
	p.Table.Rows[0].Cells[0].Chart = "chart-1"
	p.Charts[0].Overlaps = nil
	all := parse(t, write(t, p))
	assert.Zero(t, count(all, "script", ""))
	assert.Equal(t, 1, count(all, "style", ""))
	assert.Equal(t, []string{poison}, texts(all, "h1", ""))
	assert.Equal(t, []string{poison, poison, poison}, texts(all, "h2", ""), "table and charts")
	assert.Equal(t, []string{poison, poison}, texts(all, "dd", ""))
	assert.Contains(t, texts(all, "pre", ""), poison)
	for _, e := range all {
		assert.NotContains(t, e.attr, "onclick")
		if e.name == "iframe" {
			assert.Equal(t, poison, e.attr["srcdoc"])
		}
	}
}

func TestDocumentInADetailStaysInItsFrame(t *testing.T) {
	t.Parallel()
	document := `<!DOCTYPE html><title>"x" & 'y'</title><script>document.title += "<z>"</script>`
	p := timeline.Page{Charts: []timeline.Chart{{Details: []timeline.Detail{{Title: "porcupine", HTML: document}}}}}
	for _, e := range parse(t, write(t, p)) {
		if e.name == "iframe" {
			assert.Equal(t, document, e.attr["srcdoc"])
			assert.Equal(t, "allow-scripts", e.attr["sandbox"], "and neither its origin nor the page")
			return
		}
	}
	t.Error("no frame")
}

func TestHugeDetailsAreCut(t *testing.T) {
	t.Parallel()
	p := timeline.Page{Charts: []timeline.Chart{{Details: []timeline.Detail{
		{Title: "log", Text: strings.Repeat("é", 1<<20)},
		{Title: "document", HTML: strings.Repeat("x", 9<<20)},
	}}}}
	page := write(t, p)
	assert.Less(t, len(page), 1<<20)
	all := texts(parse(t, page), "pre", "")
	assert.Contains(t, all[0], "and 1835008 more bytes")
	assert.NotContains(t, all[0], "\uFFFD")
	assert.Contains(t, all[1], "Left out: a document of 9437184 bytes")
}

func TestPagesWithNextToNothingOnThem(t *testing.T) {
	t.Parallel()
	parse(t, write(t, timeline.Page{}))
	parse(t, write(t, timeline.Page{Table: &timeline.Table{}}))
	for name, c := range map[string]timeline.Chart{
		"nothing":          {},
		"no lane, a band":  {Bands: []timeline.Band{{From: 1, Label: "cut"}}},
		"an empty lane":    {Lanes: []timeline.Lane{{}}},
		"at the begin":     {Lanes: []timeline.Lane{{Bars: []timeline.Bar{{}}, Marks: []timeline.Mark{{}}}}},
		"the wrong way":    {Lanes: []timeline.Lane{{Bars: []timeline.Bar{{From: 20, To: 10}}}}, Bands: []timeline.Band{{From: 9, To: 3}}},
		"before the begin": {Lanes: []timeline.Lane{{Bars: []timeline.Bar{{From: -20, To: -10, Deadline: -15}}, Marks: []timeline.Mark{{At: -1}}}}, Length: -5},
		"for centuries":    {Length: 1<<63 - 1, Lanes: []timeline.Lane{{Bars: []timeline.Bar{{From: 1, Label: "x"}}}}},
	} {
		all := parse(t, write(t, timeline.Page{Charts: []timeline.Chart{c}}))
		for _, e := range all {
			for _, name := range []string{"x", "x1", "width"} {
				value, isPercent := strings.CutSuffix(e.attr[name], "%")
				if !isPercent {
					continue
				}
				f, err := strconv.ParseFloat(value, 64)
				require.NoError(t, err, name)
				assert.True(t, f >= 0 && f <= 100, "%s: %s = %s", name, e.name, e.attr[name])
			}
		}
		assert.Equal(t, len(c.Lanes) == 0, count(all, "p", "empty") == 1, name)
	}
}

func TestBadIDsAreRefusedBeforeAnythingIsWritten(t *testing.T) {
	t.Parallel()
	for want, p := range map[string]timeline.Page{
		`timeline: chart ID "a b": must be of letters`: {Charts: []timeline.Chart{{ID: "a b"}}},
		`timeline: chart ID "a": must be used once`:    {Charts: []timeline.Chart{{ID: "a"}, {ID: "a"}}},
		`timeline: chart ID "chart-2": must be used`:   {Charts: []timeline.Chart{{ID: "chart-2"}, {}}},
		`timeline: cell of row "r" leads to chart "b"`: {
			Charts: []timeline.Chart{{ID: "a"}},
			Table:  &timeline.Table{Rows: []timeline.Row{{Name: "r", Cells: []timeline.Cell{{Chart: "b"}}}}},
		},
	} {
		var b bytes.Buffer
		require.ErrorContains(t, p.Write(&b), want)
		assert.Zero(t, b.Len())
	}
}

type broke struct{}

var errBroke = errors.New("disk full")

func (broke) Write([]byte) (int, error) { return 0, errBroke }

func TestWriteReturnsWhatTheWriterFailsWith(t *testing.T) {
	t.Parallel()
	require.ErrorIs(t, sample().Write(broke{}), errBroke)
}

func TestTableSaysItsVerdictsInWordsAndLeadsToCharts(t *testing.T) {
	t.Parallel()
	p := timeline.Page{
		Charts: []timeline.Chart{{ID: "pause"}},
		Table: &timeline.Table{Corner: "fault", Columns: []string{"etcd", "Redis", "Redlock"}, Rows: []timeline.Row{{Name: "paused", Cells: []timeline.Cell{
			{Verdict: timeline.Held, Chart: "pause", Tip: "36 times"},
			{Verdict: timeline.Skipped, Text: "no redis-server"},
		}}}},
	}
	all := parse(t, write(t, p))
	assert.Equal(t, 3, count(all, "td", ""), "a missing cell is empty")
	assert.Equal(t, []string{" HELD"}, texts(all, "a", ""))
	assert.Equal(t, []string{"✓", "–"}, texts(all, "span", "sign"))
	assert.Contains(t, texts(all, "span", ""), " no redis-server")
}
