package screen

import "charm.land/lipgloss/v2"

// Styles are the colours of the examples: those sixteen that every terminal has,
// in the shades that its user chose.
type Styles struct {
	// Title introduces something.
	Title lipgloss.Style
	// Good is what holds, leads, works.
	Good lipgloss.Style
	// Bad is what was broken or lost.
	Bad lipgloss.Style
	// Dim is what matters less.
	Dim lipgloss.Style
}

// NewStyles returns the styles.
func NewStyles() Styles {
	return Styles{
		Title: lipgloss.NewStyle().Bold(true),
		Good:  lipgloss.NewStyle().Bold(true).Foreground(lipgloss.Green),
		Bad:   lipgloss.NewStyle().Bold(true).Foreground(lipgloss.Red),
		Dim:   lipgloss.NewStyle().Faint(true),
	}
}
