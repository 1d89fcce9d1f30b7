package capacity

import (
	"errors"
	"fmt"
	"slices"

	"gonum.org/v1/gonum/stat"
)

// Model says what n of something cost: Fixed + Each*n.
type Model struct {
	Fixed, Each float64
	// R2 is the part of the variation that the line explains, from 0 to 1.
	R2 float64
}

// Fit returns the line that is nearest to the costs of the given numbers, by least
// squares. There must be a cost for each number, and two different numbers at least.
func Fit(numbers, costs []float64) (Model, error) {
	if len(numbers) != len(costs) {
		return Model{}, fmt.Errorf("capacity: %d numbers and %d costs: must be as many", len(numbers), len(costs))
	}
	if len(numbers) == 0 || slices.Min(numbers) == slices.Max(numbers) {
		return Model{}, errors.New("capacity: a line needs two different numbers")
	}
	var m Model
	m.Fixed, m.Each = stat.LinearRegression(numbers, costs, nil, false)
	m.R2 = 1
	if slices.Min(costs) != slices.Max(costs) { // else there is nothing to explain
		m.R2 = stat.RSquared(numbers, costs, nil, m.Fixed, m.Each)
	}
	return m, nil
}

// At returns what n cost.
func (m Model) At(n float64) float64 { return m.Fixed + m.Each*n }

// linear is the least R² at which a cost is called a line. Below, the figures are noise,
// or a curve.
const linear = 0.8

// model returns the line through what a load cost at its sizes. Nothing, which costs
// nothing, is one of them only if there are no three others: it knows no cost of the first.
func model(rows []Row, load, quantity string) (Model, error) {
	const enough = 3
	numbers, costs := series(rows, Loads, load, quantity)
	if len(numbers) > enough && numbers[0] == 0 {
		numbers, costs = numbers[1:], costs[1:]
	}
	return Fit(numbers, costs)
}

// known reports whether what each one more costs could be measured. What costs less than
// nothing is noise.
func (m Model) known() bool { return m.R2 >= linear && m.Each >= 0 }
