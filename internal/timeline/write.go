package timeline

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"regexp"
)

//go:embed page.tmpl
var pageTemplate string

//go:embed style.css
var styleSheet string

// Write writes the page as HTML. It fails, before it writes anything, on an ID that
// is not allowed or used twice, and on a cell that leads to a chart that there is not;
// otherwise with what w fails with.
func (p Page) Write(w io.Writer) error {
	p = p.named()
	if err := p.check(); err != nil {
		return err
	}
	t, err := template.New("page").Parse(pageTemplate)
	if err != nil {
		return fmt.Errorf("timeline: %w", err)
	}
	if err := t.Execute(w, p.view()); err != nil {
		return fmt.Errorf("timeline: %w", err)
	}
	return nil
}

// named returns the page with an ID for each chart.
func (p Page) named() Page {
	charts := make([]Chart, len(p.Charts))
	for i, c := range p.Charts {
		if c.ID == "" {
			c.ID = fmt.Sprintf("chart-%d", i+1)
		}
		charts[i] = c
	}
	p.Charts = charts
	return p
}

func (p Page) check() error {
	allowed := regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)
	seen := make(map[string]bool)
	for _, c := range p.Charts {
		switch {
		case !allowed.MatchString(c.ID):
			return fmt.Errorf("timeline: chart ID %q: must be of letters, digits, '-', '_' and '.'", c.ID)
		case seen[c.ID]:
			return fmt.Errorf("timeline: chart ID %q: must be used once", c.ID)
		}
		seen[c.ID] = true
	}
	if p.Table == nil {
		return nil
	}
	for _, r := range p.Table.Rows {
		for _, c := range r.Cells {
			if c.Chart != "" && !seen[c.Chart] {
				return fmt.Errorf("timeline: cell of row %q leads to chart %q: must be the ID of a chart", r.Name, c.Chart)
			}
		}
	}
	return nil
}
