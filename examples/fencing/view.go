package main

import (
	"errors"
	"fmt"

	"github.com/conclave-go/conclave/examples/internal/screen"
)

// view writes lines, coloured on a terminal.
type view struct{ *screen.Acts }

// table sums up. It fails if something else than expected has happened.
func (v *view) table(results []result) (err error) {
	const row = "%-11s%-27s%-20s%-7v%v"
	v.Printf("\n"+row+"\n", "", "late write", "its Hold then says", "stock", "should be")
	for _, r := range results {
		style := v.Styles.Good
		if r.left != shouldBeLeft {
			style = v.Styles.Bad
		}
		hold := "nothing"
		if r.told.Lost != "" {
			hold = "lost"
		}
		v.Printf("%s\n", style.Render(fmt.Sprintf(row, r.name, outcome(r.late), hold, r.left, shouldBeLeft)))
		if !r.asExpected() {
			err = errors.New("this is not what was expected")
		}
	}
	return err
}
