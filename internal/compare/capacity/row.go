package capacity

import (
	"encoding/csv"
	"fmt"
	"io"
	"slices"
	"strconv"
)

// Group says what a row is about.
type Group string

// The groups, in the order of a run.
const (
	Loads      Group = "load"
	Operations Group = "operation"
	History    Group = "history"
	Stairs     Group = "stair"
)

// Row is one figure. All tables and charts are made of rows.
type Row struct {
	Group Group
	// Name is that of the load, the operation or the stair.
	Name string
	// N is how many there were.
	N int
	// Quantity says what was measured, in Unit.
	Quantity, Unit string
	Value          float64
}

// header is the first line of a file of rows.
func header() []string { return []string{"group", "name", "n", "quantity", "unit", "value"} }

// Write writes rows as CSV.
func Write(out io.Writer, rows []Row) error {
	w := csv.NewWriter(out)
	if err := w.Write(header()); err != nil {
		return err
	}
	for _, r := range rows {
		value := strconv.FormatFloat(r.Value, 'g', 6, 64)
		if err := w.Write([]string{string(r.Group), r.Name, strconv.Itoa(r.N), r.Quantity, r.Unit, value}); err != nil {
			return err
		}
	}
	w.Flush()
	return w.Error()
}

// Read reads what Write has written.
func Read(in io.Reader) ([]Row, error) {
	lines, err := csv.NewReader(in).ReadAll()
	if err != nil {
		return nil, err
	}
	if len(lines) == 0 || !slices.Equal(lines[0], header()) {
		return nil, fmt.Errorf("capacity: not a file of figures: the first line must be %q", header())
	}
	var rows []Row
	for i, l := range lines[1:] {
		n, err := strconv.Atoi(l[2])
		if err != nil {
			return nil, fmt.Errorf("capacity: line %d: n: %w", i+2, err)
		}
		value, err := strconv.ParseFloat(l[5], 64)
		if err != nil {
			return nil, fmt.Errorf("capacity: line %d: value: %w", i+2, err)
		}
		rows = append(rows, Row{Group(l[0]), l[1], n, l[3], l[4], value})
	}
	return rows, nil
}

// Merge returns rows with what was measured again in the place of what it replaces: loads,
// operations and the like are replaced as a whole.
func Merge(rows, again []Row) []Row {
	done := map[subject]bool{}
	var all []Row
	for _, r := range slices.Concat(rows, again) {
		of := r.subject()
		if done[of] {
			continue
		}
		done[of] = true
		other := func(r Row) bool { return r.subject() != of }
		latest := slices.DeleteFunc(slices.Clone(again), other)
		if len(latest) == 0 {
			latest = slices.DeleteFunc(slices.Clone(rows), other)
		}
		all = append(all, latest...)
	}
	return all
}

// subject is what rows are about.
type subject struct {
	group Group
	name  string
}

func (r Row) subject() subject { return subject{r.Group, r.Name} }

// names returns the names of a group's rows, in order.
func names(rows []Row, g Group) []string {
	var all []string
	for _, r := range rows {
		if r.Group == g && !slices.Contains(all, r.Name) {
			all = append(all, r.Name)
		}
	}
	return all
}

// series returns a quantity by number.
func series(rows []Row, g Group, name, quantity string) (numbers, values []float64) {
	for _, r := range rows {
		if r.Group == g && r.Name == name && r.Quantity == quantity {
			numbers, values = append(numbers, float64(r.N)), append(values, r.Value)
		}
	}
	return numbers, values
}
