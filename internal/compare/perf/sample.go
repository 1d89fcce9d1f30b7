package perf

import (
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
)

// Margin is the name of the metrics whose samples are recorded one by one: each is an
// incident of its own, and a figure of them all would hide the worst.
const Margin = "margin"

// Sample is one of them.
type Sample struct {
	Work, Servers, Metric, Side string
	Value                       float64
}

func (s Sample) on() string { return s.Work + " on " + s.Servers }

// Incidents returns the samples that are recorded one by one.
func (m *Measured) Incidents() []Sample {
	var all []Sample
	for _, metric := range m.Work.Metrics {
		if metric.Name != Margin {
			continue
		}
		for i, s := range m.Sides {
			for _, v := range pool(m.of(i, metric.Name)) {
				all = append(all, Sample{m.Work.Name, m.Work.On.String(), metric.Name, s.Name, v})
			}
		}
	}
	return all
}

// WriteSamples writes samples as CSV.
func WriteSamples(to io.Writer, all []Sample) error {
	rows := [][]string{{"work", "servers", "metric", "side", "value"}}
	for _, s := range all {
		rows = append(rows, []string{s.Work, s.Servers, s.Metric, s.Side, number(s.Value)})
	}
	return csv.NewWriter(to).WriteAll(rows)
}

// ReadSamples reads what [WriteSamples] has written.
func ReadSamples(from io.Reader) ([]Sample, error) {
	r := csv.NewReader(from)
	r.FieldsPerRecord = 5
	rows, err := r.ReadAll()
	if err != nil {
		return nil, fmt.Errorf("perf: samples: %w", err)
	}
	var all []Sample
	for i, row := range rows[min(1, len(rows)):] {
		v, err := strconv.ParseFloat(row[4], 64)
		if err != nil {
			return nil, fmt.Errorf("perf: samples: row %d: %w", i+2, err)
		}
		all = append(all, Sample{row[0], row[1], row[2], row[3], v})
	}
	return all, nil
}
