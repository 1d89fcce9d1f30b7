package report

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/conclave-go/conclave/internal/timeline"
)

// Flag registers -html.
func Flag(flags *flag.FlagSet) *string {
	return flags.String("html", "", "write what happened to `file`, as a page for a browser")
}

// File is where a page goes. The zero File is nowhere: nothing is written.
type File struct {
	path string
	file *os.File
	made bool // it was not there before
}

// Open opens a file for a page, so that a run does not end with a path that cannot be
// written; "" is nowhere. What is in it stays until Save.
func Open(path string) (*File, error) {
	if path == "" {
		return &File{}, nil
	}
	_, err := os.Stat(path)
	made := errors.Is(err, fs.ErrNotExist)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("-html: %w", err)
	}
	return &File{path: path, file: f, made: made}, nil
}

// Wanted reports whether there is somewhere to write to.
func (f *File) Wanted() bool { return f.file != nil }

// Save writes the page and says so on out. A page without charts is not written.
func (f *File) Save(p timeline.Page, out io.Writer) error {
	if !f.Wanted() || len(p.Charts) == 0 {
		return nil
	}
	// What is no regular file, such as a pipe, cannot be truncated and need not be.
	if info, err := f.file.Stat(); err == nil && info.Mode().IsRegular() {
		if err := f.file.Truncate(0); err != nil {
			return fmt.Errorf("-html: %w", err)
		}
	}
	f.made = false // it is worth keeping
	if err := p.Write(f.file); err != nil {
		return fmt.Errorf("-html: %w", err)
	}
	_, err := fmt.Fprintf(out, "\nThe time line is in %s\n", f.path)
	return err
}

// Close closes the file, and removes it if it was not there before and nothing was
// saved.
func (f *File) Close() error {
	if !f.Wanted() {
		return nil
	}
	err := f.file.Close()
	if f.made {
		err = errors.Join(err, os.Remove(f.path))
	}
	return err
}
