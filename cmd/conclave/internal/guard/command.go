package guard

import (
	"context"
	"errors"
	"fmt"
	"math"
	"syscall"
	"time"
)

// Name is what a guard's process is called: its first argument.
const Name = "conclave-guard"

// ErrGone is returned by Run when the guard's process has vanished. The command has been
// killed then.
var ErrGone = errors.New("guard: the guard process was killed, and the command with it")

// ErrUnsupported is returned by Run where there are no process groups.
var ErrUnsupported = errors.New("guard: running a command needs a Unix system: there is no way to end all of its processes here")

// Command is what to run.
type Command struct {
	// Path is the program, Args its arguments with the name it is called by, and Env its
	// environment.
	Path string
	Args []string
	Env  []string
	// KillBefore is how long before the deadline it gets the first signal. SIGKILL follows
	// a third of that before the deadline.
	KillBefore time.Duration
	// First is the first signal, 0 for SIGTERM.
	First int
	// OnLost, if it is not empty, is run by sh instead of the first signal.
	OnLost string
}

// Direct is a signal for the command that no terminal has sent: it is passed on also while one sends its own.
type Direct syscall.Signal

// Signal marks it as one.
func (Direct) Signal() {}

// String is that of the signal.
func (d Direct) String() string { return syscall.Signal(d).String() }

// Forever is what remains of a lease without a deadline.
const Forever time.Duration = math.MaxInt64

// Lease is what the command may not outlive.
type Lease interface {
	// Remaining is the time left until the deadline, or [Forever].
	Remaining() time.Duration
	// Context is done when it is lost or was given up.
	Context() context.Context
}

// Result is how a command has ended.
type Result struct {
	// Code is its exit code; if it was killed by a signal, 128 and that.
	Code int
	// Signal is the signal that killed it, 0 if none did.
	Signal int
	// Ended says that it was made to end, because of the lease.
	Ended bool
	// Unstarted says that it was too late to start it; it is Ended as well.
	Unstarted bool
	// Terminal says that it had the terminal's signals, as conclave had.
	Terminal bool
}

// StartError is returned by Run when the command cannot be executed.
type StartError struct {
	Path   string
	Reason string
}

// Error names the command.
func (e *StartError) Error() string { return fmt.Sprintf("guard: starting %q: %s", e.Path, e.Reason) }

// plan is the first message to a guard: a Command without its environment, which is the guard's own. What the
// caller has chosen need not be text, and JSON would change what is not.
type plan struct {
	Path       []byte
	Args       [][]byte
	OnLost     []byte
	KillBefore time.Duration
	First      int
	Join       int   // the process group of the command: conclave's, or 0 for one of its own
	Deadline   int64 // by the clock of now; 0 for none
}

func newPlan(c Command, join int, deadline int64) plan {
	p := plan{
		Path: []byte(c.Path), OnLost: []byte(c.OnLost), KillBefore: c.KillBefore, First: c.First, Join: join, Deadline: deadline,
	}
	for _, arg := range c.Args {
		p.Args = append(p.Args, []byte(arg))
	}
	return p
}

// args are those of the command.
func (p *plan) args() []string {
	args := make([]string, len(p.Args))
	for i, arg := range p.Args {
		args[i] = string(arg)
	}
	return args
}

// order is what a guard is told later.
type order struct {
	Deadline int64 // a new one, if not 0
	Signal   int   // to be passed on, if not 0
	Lost     bool  // the command has to end
}

// report is what a guard says.
type report struct {
	PID    int    // of the command, when it runs
	Failed string // why it does not
	Ending bool   // it is being ended because of the lease
	Exited bool   // nothing of it is left
	Result Result
}
