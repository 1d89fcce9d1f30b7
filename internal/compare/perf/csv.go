package perf

import (
	"encoding/csv"
	"fmt"
	"io"
	"slices"
	"strconv"
)

// columns are the columns of recorded figures. A ratio that there is none of is empty.
func columns() []string {
	return []string{
		"work", "servers", "metric", "unit", "better", "stat", "side", "lacks",
		"value", "ratio", "ratio_low", "ratio_high", "rounds", "samples",
	}
}

const (
	moreIsBetter = "more"
	lessIsBetter = "less"
)

// WriteFigures writes figures as CSV.
func WriteFigures(to io.Writer, all []Figure) error {
	w := csv.NewWriter(to)
	rows := [][]string{columns()}
	for _, f := range all {
		better := lessIsBetter
		if f.More {
			better = moreIsBetter
		}
		rows = append(rows, []string{
			f.Work, f.Servers, f.Metric, f.Unit, better, f.Stat, f.Side, f.Lacks,
			number(f.Value), ratio(f.Ratio.Mid), ratio(f.Ratio.Low), ratio(f.Ratio.High),
			strconv.Itoa(f.Rounds), strconv.Itoa(f.Samples),
		})
	}
	return w.WriteAll(rows)
}

// number writes a figure with as many digits as may mean something.
func number(v float64) string { return strconv.FormatFloat(v, 'g', 6, 64) }

func ratio(v float64) string {
	if v == 0 {
		return ""
	}
	return strconv.FormatFloat(v, 'g', 4, 64)
}

// ReadFigures reads what [WriteFigures] has written.
func ReadFigures(from io.Reader) ([]Figure, error) {
	rows, err := csv.NewReader(from).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("perf: figures: %w", err)
	}
	if len(rows) == 0 || !slices.Equal(rows[0], columns()) {
		return nil, fmt.Errorf("perf: figures: the columns must be %q", columns())
	}
	var all []Figure
	for i, row := range rows[1:] {
		f := Figure{
			Work: row[0], Servers: row[1], Metric: row[2], Unit: row[3], More: row[4] == moreIsBetter,
			Stat: row[5], Side: row[6], Lacks: row[7],
		}
		floats := []*float64{&f.Value, &f.Ratio.Mid, &f.Ratio.Low, &f.Ratio.High}
		for j, to := range floats {
			text := row[8+j]
			if text == "" && j > 0 {
				continue
			}
			if *to, err = strconv.ParseFloat(text, 64); err != nil {
				return nil, fmt.Errorf("perf: figures: row %d: %s: %w", i+2, columns()[8+j], err)
			}
		}
		for j, to := range []*int{&f.Rounds, &f.Samples} {
			if *to, err = strconv.Atoi(row[12+j]); err != nil {
				return nil, fmt.Errorf("perf: figures: row %d: %s: %w", i+2, columns()[12+j], err)
			}
		}
		all = append(all, f)
	}
	return all, nil
}
