package theatre

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/conclave-go/conclave/examples/internal/screen"
)

// Board is what there is to see on a terminal while a play is on.
type Board struct {
	// Queue is what the keys of those who wait begin with in etcd.
	Queue string
	// Ordered is that copies are shown in the order of the queue.
	Ordered bool
	// Below are more lines, nil for none, of the hand-overs in the act. It is called by a
	// goroutine of the terminal's.
	Below func(styles screen.Styles, width int, all []Handover) []string
}

// draw shows what each copy does.
func (s *Stage) draw(styles screen.Styles, width int) []string {
	lines := append([]string{"", styles.Dim.Render(boardRow("", "", "", "times", "process"))}, s.record.rows(styles, s.inOffice())...)
	if below := s.play.Board.Below; below != nil {
		lines = append(lines, below(styles, width, s.Handovers(time.Time{}))...)
	}
	keys := "q or Ctrl-C ends it"
	if s.keyed {
		keys = s.play.keys() + "q ends it"
	}
	lines = append(lines, "")
	for line := range strings.SplitSeq(screen.Wrap(keys, width-2), "\n") {
		lines = append(lines, styles.Dim.Render("  "+line))
	}
	return screen.Cut(lines, width)
}

// boardRow aligns the columns. Cells may be styled.
func boardRow(name, state, detail, times, process string) string {
	return "  " + screen.Left(name, 4) + screen.Left(state, 11) + screen.Left(detail, 44) + screen.Right(times, 7) + screen.Right(process, 9)
}

// rows returns a row for each copy.
func (r *record) rows(styles screen.Styles, verb string) (rows []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	line, cast := r.queue(), slices.Clone(r.cast)
	if r.ordered { // those in no queue last
		place := func(c *Copy) uint { return uint(slices.Index(line, c.name)) }
		slices.SortStableFunc(cast, func(a, b *Copy) int { return cmp.Compare(place(a), place(b)) })
	}
	for _, c := range cast {
		pid := ""
		if c.Process != nil {
			pid = fmt.Sprint(c.PID())
		}
		state, detail := c.describe(styles, verb, line)
		rows = append(rows, boardRow(c.name, state, detail, fmt.Sprint(c.had), styles.Dim.Render(pid)))
	}
	return rows
}

// describe says what the copy does, with the queue in etcd.
func (c *Copy) describe(styles screen.Styles, verb string, line []string) (state, detail string) {
	o := c.office
	inOffice := o != nil && o.Stopped.IsZero()
	if inOffice {
		detail = "token " + o.Token.String()
		if !o.deadline.IsZero() {
			detail += fmt.Sprintf(", %.1f s before its deadline", time.Until(o.deadline).Seconds())
		}
	}
	place := slices.Index(line, c.name)
	switch {
	case c.state == "KILLED" && place >= 0:
		return styles.Bad.Render(c.state), "in the queue until its lease expires"
	case c.state == "KILLED":
		return styles.Bad.Render(c.state), "no longer in the queue"
	case c.state != "":
		return styles.Bad.Render(c.state), detail
	case inOffice:
		return styles.Good.Render(strings.ToUpper(verb)), detail
	case place > 0:
		detail = "for " + line[place-1]
	case o != nil && o.Lost != "" && c.asked.IsZero():
		return styles.Bad.Render("told"), "that it is over"
	case o == nil && c.asked.IsZero():
		return "starts", ""
	}
	if waited := time.Since(c.asked); !c.asked.IsZero() && waited > time.Second/2 {
		detail += fmt.Sprintf(" (%.1f s)", waited.Seconds())
	}
	return "waits", detail
}
