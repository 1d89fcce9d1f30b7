package program

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"time"
)

// Help is what a program says about its command line.
type Help struct {
	// Usage is a line that says how it looks.
	Usage string
	// About says what the program does.
	About string
	// More is what there is to know besides the flags, if anything.
	More string
}

// Parse reads a command line into the flags of fs, and has check find what is wrong with
// the values. The error is [flag.ErrHelp] if that was asked for, and has been given, or a
// [UsageError].
func (h Help) Parse(fs *flag.FlagSet, args []string, out io.Writer, check func() error) error {
	fs.SetOutput(io.Discard)
	err := fs.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		h.print(fs, out)
		return err
	case err == nil && fs.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q", fs.Arg(0))
	case err == nil:
		err = check()
	}
	return Misuse(err, h.Usage)
}

// print explains the flags.
func (h Help) print(fs *flag.FlagSet, out io.Writer) {
	for _, part := range []string{h.About, h.Usage, h.More} {
		if part != "" {
			_, _ = fmt.Fprintf(out, "%s\n\n", part)
		}
	}
	fs.SetOutput(out)
	fs.PrintDefaults()
}

// Positive fails if a duration that was read is not.
func Positive(fs *flag.FlagSet) (err error) {
	fs.VisitAll(func(f *flag.Flag) {
		if d, ok := f.Value.(flag.Getter).Get().(time.Duration); ok && d <= 0 && err == nil {
			err = fmt.Errorf("-%s %s: must be more than 0", f.Name, d)
		}
	})
	return err
}
