package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/conclave-go/conclave/internal/compare/perf"
	"github.com/conclave-go/conclave/internal/compare/perf/draw"
)

// The files of records, beside charts.
const (
	figuresFile = "figures.csv"
	samplesFile = "samples.csv"
	machineFile = "machine.json"
	tablesFile  = "tables.md"
)

// records are what is kept of runs.
type records struct {
	figures []perf.Figure
	samples []perf.Sample
	machine perf.Machine
}

// folder returns docs/performance of the repository that this is run in.
func folder() (string, error) {
	const module = "module github.com/conclave-go/conclave/internal/compare\n"
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if text, err := os.ReadFile(filepath.Join(dir, "go.mod")); err == nil && strings.HasPrefix(string(text), module) {
			return filepath.Join(dir, "..", "..", "docs", "performance"), nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("compare: run it in internal/compare, or say where records are with -out")
		}
		dir = filepath.Dir(dir)
	}
}

// load reads records.
func load(dir string) (r records, err error) {
	read := func(name string, read func(io.Reader) error) {
		if err != nil {
			return
		}
		var text []byte
		if text, err = os.ReadFile(filepath.Join(dir, name)); err == nil {
			err = read(bytes.NewReader(text))
		}
	}
	read(figuresFile, func(from io.Reader) (err error) { r.figures, err = perf.ReadFigures(from); return err })
	read(samplesFile, func(from io.Reader) (err error) { r.samples, err = perf.ReadSamples(from); return err })
	read(machineFile, func(from io.Reader) (err error) { r.machine, err = perf.ReadMachine(from); return err })
	if err != nil {
		return r, fmt.Errorf("compare: records: %w", err)
	}
	return r, nil
}

// save writes records, their charts and tables: all of them to temporary files first, so that
// what goes wrong leaves the files as they were.
func (r records) save(dir string) error {
	files, err := draw.Charts(r.figures, r.samples)
	if err != nil {
		return fmt.Errorf("compare: charts: %w", err)
	}
	for name, write := range map[string]func(io.Writer) error{
		figuresFile: func(to io.Writer) error { return perf.WriteFigures(to, r.figures) },
		samplesFile: func(to io.Writer) error { return perf.WriteSamples(to, r.samples) },
		machineFile: func(to io.Writer) error { return perf.WriteMachine(to, r.machine) },
		tablesFile:  r.tables,
	} {
		var b bytes.Buffer
		if err := write(&b); err != nil {
			return fmt.Errorf("compare: %s: %w", name, err)
		}
		files[name] = b.Bytes()
	}
	return replace(dir, files)
}

// tables writes the page of tables.
func (r records) tables(to io.Writer) error {
	_, err := fmt.Fprintf(to, "# Figures\n\nWhat they mean is in [performance](../performance.md).\n\nMeasured on %s with %s.\n", r.machine.Date, r.machine)
	if err != nil {
		return err
	}
	return perf.WriteMarkdown(to, r.figures)
}

// replace writes files and then lets them take their places.
func replace(dir string, files map[string][]byte) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	temporary, err := os.MkdirTemp(dir, ".new-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(temporary) }()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(temporary, name), text, 0o644); err != nil {
			return err
		}
	}
	for name := range files {
		if err := os.Rename(filepath.Join(temporary, name), filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}
