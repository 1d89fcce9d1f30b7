package program_test

import (
	"errors"
	"flag"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/examples/internal/program"
)

// parse reads a command line with one flag, of which check finds n too high.
func parse(args ...string) (n int, out string, err error) {
	fs := flag.NewFlagSet("test", flag.ContinueOnError)
	fs.IntVar(&n, "n", 1, "a `number`")
	var b strings.Builder
	help := program.Help{Usage: "usage: test", About: "It tests.", More: "More of it."}
	err = help.Parse(fs, args, &b, func() error {
		if n > 2 {
			return errors.New("too many")
		}
		return nil
	})
	return n, b.String(), err
}

func TestACommandLineIsReadAndChecked(t *testing.T) {
	t.Parallel()
	n, out, err := parse("-n", "2")
	require.NoError(t, err)
	require.Equal(t, 2, n)
	require.Empty(t, out)
	for message, args := range map[string][]string{
		"too many":                  {"-n", "3"},
		`unexpected argument "now"`: {"-n", "2", "now"},
		"-nope":                     {"-nope"},
	} {
		_, out, err := parse(args...)
		require.ErrorContains(t, err, message)
		var usage *program.UsageError
		require.ErrorAs(t, err, &usage)
		require.Equal(t, "usage: test", usage.Usage)
		require.Empty(t, out)
	}
}

func TestHelpIsGivenWhateverElseIsWrong(t *testing.T) {
	t.Parallel()
	_, out, err := parse("-n", "3", "-h")
	require.ErrorIs(t, err, flag.ErrHelp)
	require.Equal(t, "It tests.\n\nusage: test\n\nMore of it.\n\n  -n number\n    \ta number (default 1)\n", out)
}

func TestDurationsOf0AreRefused(t *testing.T) {
	t.Parallel()
	for value, message := range map[string]string{"1s": "", "0s": "-d 0s: must be more than 0", "-1s": "-d -1s: must be more than 0"} {
		fs := flag.NewFlagSet("test", flag.ContinueOnError)
		fs.Duration("d", time.Second, "")
		fs.Bool("b", false, "")
		require.NoError(t, fs.Parse([]string{"-d", value}))
		if err := program.Positive(fs); message == "" {
			require.NoError(t, err)
		} else {
			require.EqualError(t, err, message)
		}
	}
}
