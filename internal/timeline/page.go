package timeline

// Page is a document.
type Page struct {
	// Title is its name, of one line.
	Title string
	// Intro is text below that; an empty line begins a new paragraph.
	Intro string
	// Facts say where the page comes from: seed, versions, machine, command.
	Facts []Fact
	// Table sums up; nil leaves it out.
	Table *Table
	// Charts follow in this order.
	Charts []Chart
}

// Fact is a name and a value, such as a version.
type Fact struct{ Name, Value string }

// Verdict is what was found out.
type Verdict string

// The verdicts, in the words in which they are shown.
const (
	Unjudged       Verdict = ""
	Held           Verdict = "HELD"
	BrokenExpected Verdict = "BROKEN (expected)"
	Broken         Verdict = "BROKEN"
	Skipped        Verdict = "SKIPPED"
)

// Table is a table of verdicts.
type Table struct {
	// Title is its name; it may be empty.
	Title string
	// Corner says what the rows are.
	Corner string
	// Columns are the names of the columns, without that of the rows.
	Columns []string
	// Rows have a cell for each column; missing cells are empty.
	Rows []Row
}

// Row is a row of a table.
type Row struct {
	Name  string
	Cells []Cell
}

// Cell is a cell of a table.
type Cell struct {
	// Verdict gives the cell its colour and sign, and its text if Text is empty.
	Verdict Verdict
	Text    string
	// Tip is a sentence that is shown when asked for.
	Tip string
	// Chart is the ID of the chart that the cell leads to; "" for none.
	Chart string
}
