package screen

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/term"
)

// DefaultWidth is what lines are wrapped at where the terminal does not tell.
const DefaultWidth = 80

// Live reports whether out is a terminal on which things may move: neither a pipe
// nor a dumb one, and without NO_COLOR (https://no-color.org).
func Live(out *os.File) bool {
	return term.IsTerminal(out.Fd()) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// Interactive reports whether keys can be read from in.
func Interactive(in *os.File) bool { return term.IsTerminal(in.Fd()) }

// Width returns the width of the terminal, or what COLUMNS says, or DefaultWidth.
func Width(out *os.File) int {
	if w, _, err := term.GetSize(out.Fd()); err == nil && w > 0 {
		return w
	}
	if w, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && w > 0 {
		return w
	}
	return DefaultWidth
}

// Wrap breaks a text between words where it would be wider than width.
func Wrap(text string, width int) string { return lipgloss.Wrap(text, width, " ") }

// Cut cuts lines that are wider than width. They may be styled.
func Cut(lines []string, width int) []string {
	cut := lipgloss.NewStyle().MaxWidth(width)
	for i, l := range lines {
		lines[i] = cut.Render(l)
	}
	return lines
}

// Left fills s with blanks on its right. It may be styled.
func Left(s string, width int) string { return s + blanks(s, width) }

// Right fills s with blanks on its left. It may be styled.
func Right(s string, width int) string { return blanks(s, width) + s }

func blanks(s string, width int) string { return strings.Repeat(" ", max(0, width-lipgloss.Width(s))) }

// Stamp is as wide as what At puts before a line.
const Stamp = 10

// At puts a time before a text that is wrapped beside it.
func At(at time.Duration, text string, width int) string {
	stamp := fmt.Sprintf("%*.3fs", Stamp-3, at.Seconds())
	wrapped := Wrap(text, max(width-Stamp, 2*Stamp))
	return stamp + "  " + strings.ReplaceAll(wrapped, "\n", "\n"+strings.Repeat(" ", Stamp))
}
