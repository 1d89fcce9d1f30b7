package screen

import (
	"strings"

	"charm.land/lipgloss/v2"
)

// Table aligns rows, the first cell of each on the left and the others on the right. Where
// that is too wide, each row gets a line for its name and one for each other cell. Without
// rows there is no table.
func Table(header []string, rows [][]string, width int) string {
	if len(rows) == 0 {
		return ""
	}
	widths, total := make([]int, len(header)), 0
	for i := range header {
		for _, row := range append(rows, header) {
			widths[i] = max(widths[i], lipgloss.Width(row[i]))
		}
		total += widths[i] + 2
	}
	var b strings.Builder
	if total-2 > width {
		label := 0
		for _, h := range header[1:] {
			label = max(label, lipgloss.Width(h)+2)
		}
		for _, row := range rows {
			b.WriteString("\n" + row[0] + "\n")
			for i, cell := range row[1:] {
				b.WriteString("  " + Left(header[i+1], label) + cell + "\n")
			}
		}
		return b.String()
	}
	for _, row := range append([][]string{header}, rows...) {
		line := []string{Left(row[0], widths[0])}
		for i, cell := range row[1:] {
			line = append(line, Right(cell, widths[i+1]))
		}
		b.WriteString("\n" + strings.TrimRight(strings.Join(line, "  "), " "))
	}
	return b.String() + "\n"
}
