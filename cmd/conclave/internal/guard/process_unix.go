//go:build unix

package guard

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// state is that of a guard, see the package comment.
type state int

const (
	running state = iota
	ending
	killing
)

const (
	// look is how often a guard looks at the clock, since timers stand still while the machine
	// is suspended.
	look = time.Second
	// poll is how often it looks whether something is left of a command that ends.
	poll = 10 * time.Millisecond
	// patience is how long what is ended without a deadline has.
	patience = 2 * time.Second
)

// warden is a guard's process.
type warden struct {
	plan     plan
	pid      int // of the command
	session  int
	reports  *json.Encoder
	orders   <-chan order // closed when conclave is gone
	reaped   <-chan child
	wake     *time.Timer
	state    state
	lost     bool  // rather than that the command has exited
	deadline int64 // 0 for none
	killAt   int64
	result   *Result // once the command has exited
}

// child is a process that has ended.
type child struct {
	pid    int
	status syscall.WaitStatus
}

// Main is the guard's process: its argument is the descriptor of the socket to conclave. It returns
// the exit code.
func Main(args []string) int {
	// The command is killed when the thread that has started it ends.
	runtime.LockOSThread()
	if err := serve(args); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func serve(args []string) error {
	if len(args) != 1 {
		return errors.New("guard: conclave starts this process by itself")
	}
	fd, err := strconv.Atoi(args[0])
	if err != nil {
		return fmt.Errorf("guard: descriptor %q: must be a number", args[0])
	}
	unix.CloseOnExec(fd)
	rename(Name)
	if err := adopt(); err != nil {
		return err
	}
	heedless()
	socket := os.NewFile(uintptr(fd), "conclave")
	in := json.NewDecoder(socket)
	w := &warden{reports: json.NewEncoder(socket), wake: time.NewTimer(look)}
	if err := in.Decode(&w.plan); err != nil {
		return fmt.Errorf("guard: plan: %w", err)
	}
	if w.plan.late() { // a process was stopped for long meanwhile
		return w.reports.Encode(report{Exited: true, Result: Result{Ended: true, Unstarted: true}})
	}
	if err := w.start(); err != nil {
		return w.reports.Encode(report{Failed: err.Error()})
	}
	w.orders = receive(in)
	w.run()
	return nil
}

// foreign are the signals of terminals and supervisors, which are not meant for the guard: it ends after the command.
func foreign() []syscall.Signal {
	return []syscall.Signal{
		unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2,
		unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU, unix.SIGALRM,
	}
}

// heedless lets them pass from now on. They are caught, not ignored, because what is ignored stays so in the command. What has
// started the guard cannot have them ignored or blocked for that reason, and because Go's runtime would undo it.
func heedless() {
	c := make(chan os.Signal, 1)
	for _, s := range foreign() {
		if !signal.Ignored(s) {
			signal.Notify(c, s)
		}
	}
}

// receive passes orders on until conclave is gone.
func receive(in *json.Decoder) <-chan order {
	orders := make(chan order)
	go func() { // ends with conclave's end of the socket
		defer close(orders)
		for {
			var o order
			if err := in.Decode(&o); err != nil {
				return
			}
			orders <- o
		}
	}()
	return orders
}

// late reports whether the command would be ended at once.
func (p *plan) late() bool {
	return p.Deadline != 0 && now() >= p.Deadline-int64(p.KillBefore)
}

func (w *warden) start() error {
	sid, err := unix.Getsid(0)
	if err != nil {
		return os.NewSyscallError("getsid", err)
	}
	null, err := openNull() // which can fail, and the command is running after this
	if err != nil {
		return err
	}
	defer func() { _ = null.Close() }() // it is not written to
	w.session, w.deadline = sid, w.plan.Deadline
	w.pid, err = syscall.ForkExec(string(w.plan.Path), w.plan.args(), &syscall.ProcAttr{
		Env: os.Environ(), Files: []uintptr{0, 1, 2}, Sys: attributes(w.plan.Join),
	})
	if err != nil {
		return err
	}
	w.reaped = reap()
	w.say(report{PID: w.pid})
	// A pipe whose other end waits for the command to close it must not wait for the guard. If it has to, the command still
	// needs the guard.
	_ = detach(null, 0, 1, 2)
	return nil
}

// nullDevice is the null device.
var nullDevice = os.DevNull //nolint:gochecknoglobals // tests have another

func openNull() (*os.File, error) { return os.OpenFile(nullDevice, os.O_RDWR, 0) }

// detach puts the null device in the place of descriptors.
func detach(null *os.File, fds ...int) error {
	var err error
	for _, fd := range fds {
		err = errors.Join(err, replace(null, fd))
	}
	return err
}

// targets is find.
var targets = find //nolint:gochecknoglobals // tests have another

// reap waits for all children, those that were adopted too, until there are none.
func reap() <-chan child {
	reaped := make(chan child)
	go func() { // ends with the last child
		defer close(reaped)
		for {
			var c child
			var err error
			c.pid, err = syscall.Wait4(-1, &c.status, 0, nil)
			switch {
			case errors.Is(err, unix.EINTR):
			case err != nil:
				return
			default:
				reaped <- c
			}
		}
	}()
	return reaped
}

// say tells conclave, if it is still there.
func (w *warden) say(r report) { _ = w.reports.Encode(r) }

func (w *warden) run() {
	for w.result == nil || len(w.left()) > 0 {
		// What the command has left behind in its session ends with it, because the lock does. Of a process that was just
		// being started a look may know nothing yet.
		if w.result != nil && w.state == running {
			w.becomeEnding()
			w.terminate(unix.SIGTERM)
		}
		w.wake.Reset(w.pause())
		select {
		case o, ok := <-w.orders:
			if !ok { // conclave is gone
				w.orders = nil
				o.Lost = true
			}
			w.obey(o)
		case c, ok := <-w.reaped:
			if !ok { // no child is left
				w.reaped = nil
				continue
			}
			w.note(c)
		case <-w.wake.C:
			w.tick()
		}
	}
	w.result.Ended = w.lost
	w.say(report{Exited: true, Result: *w.result})
}

// left returns what kill takes to reach what is left of the command.
func (w *warden) left() []int {
	out := targets(w.group(), w.session, w.lost)
	if len(out) == 0 && w.result == nil {
		out = []int{w.pid}
	}
	return out
}

// group is the command's own process group, 0 if it has none.
func (w *warden) group() int {
	if w.plan.Join != 0 {
		return 0
	}
	return w.pid
}

// signal sends a signal to all that is left of the command, to its own group before the look at all processes, which may
// take long.
func (w *warden) signal(sig unix.Signal) {
	group := w.group()
	first := group != 0 && w.result == nil && started(group, os.Getpid())
	if first {
		_ = unix.Kill(-group, sig)
	}
	for _, target := range w.left() {
		if !first || target != -group {
			_ = unix.Kill(target, sig) // it may be gone by now
		}
	}
}

// pause is how long nothing is to be done.
func (w *warden) pause() time.Duration {
	switch {
	case w.state == running && w.deadline == 0:
		return time.Hour
	case w.state == running:
		return min(look, max(0, time.Duration(w.deadline-int64(w.plan.KillBefore)-now())))
	case w.state == ending && w.result == nil:
		return min(look, max(0, time.Duration(w.killAt-now())))
	default:
		return poll
	}
}

func (w *warden) obey(o order) {
	switch {
	case o.Lost:
		w.lose()
	case o.Signal != 0 && w.result == nil:
		_ = unix.Kill(w.pid, unix.Signal(o.Signal))
	case o.Deadline != 0:
		w.deadline = o.Deadline
	}
}

// note takes down how the command has ended.
func (w *warden) note(c child) {
	if c.pid != w.pid {
		return
	}
	w.result = &Result{Code: c.status.ExitStatus()}
	if c.status.Signaled() {
		w.result.Signal = int(c.status.Signal())
		w.result.Code = 128 + w.result.Signal
	}
}

func (w *warden) tick() {
	switch w.state {
	case running:
		if w.deadline != 0 && now() >= w.deadline-int64(w.plan.KillBefore) {
			w.lose()
		}
	case ending:
		if now() >= w.killAt {
			w.state = killing
			w.signal(unix.SIGKILL)
		}
	case killing:
		w.signal(unix.SIGKILL)
	}
}

// lose begins to end the command, once. One that has ended by itself has not lost anything: what is left of it is being
// ended already, and a daemon of it may stay.
func (w *warden) lose() {
	if w.lost || w.result != nil {
		return
	}
	w.lost = true
	w.say(report{Ending: true})
	if w.state != running { // it was ending already
		return
	}
	w.becomeEnding()
	switch {
	case len(w.plan.OnLost) > 0:
		w.ask()
	case w.plan.First != 0:
		w.terminate(unix.Signal(w.plan.First))
	default:
		w.terminate(unix.SIGTERM)
	}
}

// becomeEnding sets when SIGKILL follows: after two thirds of KillBefore, and before the deadline in any case.
func (w *warden) becomeEnding() {
	w.state = ending
	if w.deadline == 0 {
		w.killAt = now() + int64(patience)
		return
	}
	third := int64(w.plan.KillBefore) / 3
	w.killAt = min(now()+2*third, w.deadline-third)
}

// terminate sends a signal, and wakes what is stopped so that it can heed it.
func (w *warden) terminate(sig unix.Signal) {
	w.signal(sig)
	w.signal(unix.SIGCONT)
}

// ask runs what was chosen in place of a signal. It belongs to the command's processes, and is killed with them.
func (w *warden) ask() {
	env := append(os.Environ(), "CONCLAVE_CHILD_PID="+strconv.Itoa(w.pid))
	group := w.plan.Join
	if group == 0 {
		group = w.pid
	}
	if err := shell(string(w.plan.OnLost), env, group); err != nil {
		w.terminate(unix.SIGTERM)
	}
}

// shell starts a command line and does not wait for it.
func shell(line string, env []string, group int) error {
	_, err := syscall.ForkExec("/bin/sh", []string{"sh", "-c", line}, &syscall.ProcAttr{
		Env: env, Files: []uintptr{0, 1, 2}, Sys: attributes(group),
	})
	return err
}
