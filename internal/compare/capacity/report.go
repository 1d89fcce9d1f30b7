package capacity

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// Text writes all tables for a terminal.
func Text(out io.Writer, rows []Row) error {
	all := tables(rows)
	for _, name := range names(rows, Loads) {
		all = append(all, measured(rows, name))
	}
	return text(out, all)
}

// Markdown writes the tables of docs/performance/capacity.md: all but the figures that the lines are
// fitted to.
func Markdown(out io.Writer, rows []Row) error { return markdown(out, tables(rows)) }

func tables(rows []Row) []table {
	all := []table{
		models(rows, "What one more costs", "A dot stands where the costs are not on a line (R² below 0.8, or a slope below zero): too little to be measured, or a curve.",
			func(m Model, unit string) string {
				if !m.known() {
					return "·"
				}
				return format(m.Each, unit)
			}),
		models(rows, "R² of the lines", "", func(m Model, _ string) string {
			return strconv.FormatFloat(m.R2, 'f', 3, 64)
		}),
		additions(rows),
		besides(rows),
		matrix(rows, Operations, "What an operation costs"),
		historyTable(rows),
		estimate(rows, Example()),
	}
	for _, name := range names(rows, Stairs) {
		all = append(all, stairTable(rows, name))
	}
	return slices.DeleteFunc(all, func(t table) bool { return len(t.rows) == 0 })
}

// models has a line for each load and in it what cell makes of each cost's model.
func models(rows []Row, title, note string, cell func(m Model, unit string) string) table {
	t := table{title: title, note: note, header: []string{""}}
	for _, q := range atRest() {
		t.header = append(t.header, q.heading())
	}
	for _, name := range names(rows, Loads) {
		line := []string{name}
		for _, q := range atRest() {
			m, err := model(rows, name, q.name)
			if err != nil { // one size only
				line = append(line, "")
				continue
			}
			line = append(line, cell(m, q.unit))
		}
		t.rows = append(t.rows, line)
	}
	return t
}

// heading is the name with what format does not say.
func (q quantity) heading() string {
	if q.unit == "1/s" {
		return q.name + "/s"
	}
	return q.name
}

// additions says what adding one cost: once and for all, and up to each of the sizes.
func additions(rows []Row) table {
	t := table{
		title:  "What it costs to add one",
		note:   fmt.Sprintf("The last three are means from one size to the next, with %d under way at a time.", parallel),
		header: []string{"", "revisions", "log entries", "WAL", "how many", "time", "client CPU", "server CPU"},
	}
	for _, name := range names(rows, Loads) {
		line := []string{name}
		for _, q := range []string{AddRevisions, AddEntries, AddWAL} {
			line = append(line, last(rows, Loads, name, q))
		}
		line = append(line, list(of(rows, Loads, name, AddTime), number))
		for _, q := range []string{AddTime, AddClientCPU, AddServerCPU} {
			line = append(line, list(of(rows, Loads, name, q), figure))
		}
		t.rows = append(t.rows, line)
	}
	return t
}

// besides says what the probes took at each size.
func besides(rows []Row) table {
	const mean, p99 = ", mean", ", p99"
	t := table{title: "What happens beside so many", header: []string{"", "what", "how many", "mean", "p99"}}
	for _, name := range names(rows, Loads) {
		for _, q := range quantities(rows, Loads, name) {
			what, ok := strings.CutSuffix(q, mean)
			if !ok {
				continue
			}
			means, slow := of(rows, Loads, name, q), of(rows, Loads, name, what+p99)
			t.rows = append(t.rows, []string{name, what, list(means, number), list(means, figure), list(slow, figure)})
		}
	}
	return t
}

func number(r Row) string { return thousands(float64(r.N)) }

func figure(r Row) string { return format(r.Value, r.Unit) }

// list writes something of rows, in order.
func list(rows []Row, cell func(Row) string) string {
	var cells []string
	for _, r := range rows {
		cells = append(cells, cell(r))
	}
	return strings.Join(cells, " / ")
}

// of returns the rows of a quantity.
func of(rows []Row, g Group, name, quantity string) []Row {
	var all []Row
	for _, r := range rows {
		if r.Group == g && r.Name == name && r.Quantity == quantity {
			all = append(all, r)
		}
	}
	return all
}

// last returns the last figure of a quantity, nothing if there is none.
func last(rows []Row, g Group, name, quantity string) string {
	all := of(rows, g, name, quantity)
	if len(all) == 0 {
		return ""
	}
	return format(all[len(all)-1].Value, all[len(all)-1].Unit)
}

// quantities returns the names of what was measured of something, in order.
func quantities(rows []Row, g Group, name string) []string {
	var all []string
	for _, r := range rows {
		if r.Group == g && (name == "" || r.Name == name) && !slices.Contains(all, r.Quantity) {
			all = append(all, r.Quantity)
		}
	}
	return all
}

// matrix has a line for each name of a group and a column for each quantity.
func matrix(rows []Row, g Group, title string) table {
	t := table{title: title, header: append([]string{""}, quantities(rows, g, "")...)}
	for _, name := range names(rows, g) {
		line := []string{name}
		for _, q := range quantities(rows, g, "") {
			line = append(line, last(rows, g, name, q))
		}
		t.rows = append(t.rows, line)
	}
	return t
}

// historyTable is about the store at the end of the operations.
func historyTable(rows []Row) table {
	title := "The store"
	if i := slices.IndexFunc(rows, func(r Row) bool { return r.Group == History }); i >= 0 {
		title = fmt.Sprintf("The store after %s revisions", thousands(float64(rows[i].N)))
	}
	return matrix(rows, History, title)
}

// measured has a line for each size of a load.
func measured(rows []Row, name string) table {
	t := byNumber(rows, Loads, name)
	t.title = "Measured: " + name
	return t
}

// byNumber has a line for each number and a column for each quantity.
func byNumber(rows []Row, g Group, name string) table {
	all := quantities(rows, g, name)
	t := table{header: append([]string{"n"}, all...)}
	var numbers []int
	for _, r := range rows {
		if r.Group == g && r.Name == name && !slices.Contains(numbers, r.N) {
			numbers = append(numbers, r.N)
		}
	}
	for _, n := range numbers {
		line := make([]string, len(all)+1)
		line[0] = thousands(float64(n))
		for _, r := range rows {
			if r.Group == g && r.Name == name && r.N == n {
				line[1+slices.Index(all, r.Quantity)] = format(r.Value, r.Unit)
			}
		}
		t.rows = append(t.rows, line)
	}
	return t
}

// stairTable has a line for each step, and says where the knee is.
func stairTable(rows []Row, name string) table {
	t := byNumber(rows, Stairs, name)
	steps := Steps(rows, name)
	i, found := Knee(steps)
	if t.title = "The knee of " + name + ": not reached"; found {
		t.title = fmt.Sprintf("The knee of %s: %s per second with %s", name,
			thousands(steps[i].Throughput), thousands(float64(steps[i].Load)))
	}
	return t
}

// Steps returns the steps of a stair.
func Steps(rows []Row, name string) []Step {
	var steps []Step
	for _, r := range of(rows, Stairs, name, Throughput) {
		steps = append(steps, Step{Load: r.N, Throughput: r.Value})
	}
	for i := range steps {
		for _, r := range rows {
			if r.Group == Stairs && r.Name == name && r.N == steps[i].Load {
				steps[i] = steps[i].with(r)
			}
		}
	}
	return steps
}

// with returns the step with what a row says.
func (s Step) with(r Row) Step {
	switch r.Quantity {
	case P50:
		s.P50 = r.Value
	case P99:
		s.P99 = r.Value
	case LostCount:
		s.Lost = int(r.Value)
	}
	return s
}
