package proctest

import (
	"context"
	"fmt"
	"strings"

	"github.com/conclave-go/conclave/internal/process"
)

// lines is how many lines may be on their way to one who does not hear them yet; what
// comes after them is dropped.
const lines = 100

// Role is what a process does, with the arguments of [Start], until ctx ends. An error
// ends the process with status 1.
type Role func(ctx context.Context, line *Line, args []string) error

// Roles are what a process can be, by name.
type Roles map[string]Role

// Line is what a role has of its test.
type Line struct {
	line *process.Line
	told chan string
}

// Say says one line, as [fmt.Sprintln] makes it.
func (l *Line) Say(words ...any) { l.line.Report(strings.TrimSuffix(fmt.Sprintln(words...), "\n")) }

// Told is what the test tells.
func (l *Line) Told() <-chan string { return l.told }

// Play runs the role that the process was started for, and exits. In any other process
// it does nothing.
func Play(roles Roles) {
	all := make(map[string]process.Role, len(roles))
	for name, role := range roles {
		all[name] = role.play
	}
	process.Main(all)
}

func (r Role) play(ctx context.Context, line *process.Line) error {
	l := &Line{line: line, told: make(chan string, lines)}
	var args []string
	return line.Serve(ctx, &args, func(words string) { offer(l.told, words) }, func(ctx context.Context) error {
		return r(ctx, l, args)
	})
}

// offer gives a line to one who may not want it.
func offer(to chan<- string, line string) {
	select {
	case to <- line:
	default:
	}
}
