//go:build unix

package guard

import (
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Run runs a command until it has ended, or been ended because of the lease, and returns how.
// renewed tells that the deadline has moved;
// signals are passed on to the command. When the lease is over already, or so nearly that the command would be ended
// at once, it is not started.
func Run(c Command, lease Lease, renewed <-chan struct{}, signals <-chan os.Signal) (Result, error) {
	if lease.Context().Err() != nil {
		return Result{Ended: true, Unstarted: true}, nil
	}
	// Orphans of a guard that was killed become ours.
	if err := adopt(); err != nil {
		return Result{}, err
	}
	tty := terminal()
	r := &runner{lease: lease, path: c.Path, killBefore: c.KillBefore, tty: tty, reports: make(chan report)}
	defer r.close()
	if err := r.start(c); err != nil {
		return Result{}, err
	}
	return r.wait(renewed, signals)
}

// runner is conclave's side of a guard.
type runner struct {
	lease      Lease
	path       string // of the command
	killBefore time.Duration
	due        int64    // the deadline that the guard has taken last, 0 for none; sooner after a loss
	tty        *os.File // the controlling terminal, nil if there is none
	guard      int      // its process
	socket     *os.File
	orders     orders
	reports    chan report        // closed when the guard is gone
	status     syscall.WaitStatus // of the guard that is gone
	pid        int                // of the command
	early      os.Signal          // the last that came before there was one
}

// terminal opens the controlling terminal.
func terminal() *os.File {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil
	}
	return tty
}

// close closes what the runner has open. Nothing can be lost by that.
func (r *runner) close() {
	if r.tty != nil {
		_ = r.tty.Close()
	}
	if r.socket != nil {
		_ = r.socket.Close()
	}
}

// foreground reports whether the terminal's signals go to this process, and so to the command.
func (r *runner) foreground() bool {
	if r.tty == nil {
		return false
	}
	group, err := unix.IoctlGetInt(int(r.tty.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// start starts the guard, which starts the command.
func (r *runner) start(c Command) error {
	program, err := self()
	if err != nil {
		return err
	}
	null, err := openNull() // all that can fail comes before the plan: with that the command begins
	if err != nil {
		return err
	}
	defer func() { _ = null.Close() }() // it is not written to
	ours, theirs, err := socketpair()
	if err != nil {
		return err
	}
	r.guard, err = spawn(program, theirs, c.Env)
	err = errors.Join(err, os.NewSyscallError("close", unix.Close(theirs)))
	r.socket = os.NewFile(uintptr(ours), "guard")
	if err != nil {
		return err
	}
	r.orders.socket = ours
	go r.receive()
	group := 0
	if r.tty != nil { // the terminal's signals are for the command, too
		group = unix.Getpgrp()
	}
	if err := detach(null, 0, 1); err != nil { // the command's own now
		return err
	}
	r.due = r.deadline()
	// A long one does not fit into the socket, and has to be read. The command does not run before that.
	_ = json.NewEncoder(r.socket).Encode(newPlan(c, group, r.due)) // unless the guard is gone
	return nil
}

// orders go to the guard without waiting for it: one that is stopped takes no more than what fits into its socket.
type orders struct {
	socket int
	torn   bool // one has gone out in part: whatever came after it could not be read
}

// send reports whether the guard will read an order.
func (w *orders) send(o order) bool {
	text, err := json.Marshal(o)
	if err != nil || w.torn {
		return false
	}
	text = append(text, '\n')
	n, err := unix.Write(w.socket, text)
	w.torn = n > 0 && n < len(text)
	return err == nil && n == len(text)
}

// spawn starts a guard, which inherits its end of the socket under the number it has: one chosen by us might be a file that the
// command expects there. Nothing else that is started at the moment may have it, since then nobody would see the guard's end.
func spawn(program string, socket int, env []string) (pid int, err error) {
	var files []uintptr
	// Two numbers above the last are nobody's: the first steps of the new process use one of them.
	for fd := 0; fd <= socket || Inherited(fd) || Inherited(fd+1); fd++ {
		if fd == socket || Inherited(fd) {
			files = append(files, uintptr(fd))
		} else {
			files = append(files, ^uintptr(0)) // none
		}
	}
	pid, err = syscall.ForkExec(program, []string{Name, strconv.Itoa(socket)}, &syscall.ProcAttr{
		Env: env, Files: files, Sys: &syscall.SysProcAttr{Setpgid: !leadsSession()},
	})
	return pid, os.NewSyscallError("fork/exec", err)
}

// Inherited reports whether a file descriptor was open when the program began: its own ones are closed on exec.
func Inherited(fd int) bool {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	return err == nil && flags&unix.FD_CLOEXEC == 0
}

// leadsSession reports whether the terminal's session begins with this process. Then the guard
// stays in its group: nobody could continue what the terminal has stopped, and the system knows that by there being
// no parent outside of the group.
func leadsSession() bool {
	sid, err := unix.Getsid(0)
	return err == nil && sid == unix.Getpid()
}

// socketpair returns two connected descriptors.
func socketpair() (ours, theirs int, err error) {
	syscall.ForkLock.RLock() // nothing is started before they are closed on exec
	defer syscall.ForkLock.RUnlock()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return 0, 0, os.NewSyscallError("socketpair", err)
	}
	unix.CloseOnExec(fds[0])
	unix.CloseOnExec(fds[1])
	return fds[0], fds[1], os.NewSyscallError("fcntl", unix.SetNonblock(fds[0], true))
}

// receive passes on what the guard says until it is gone, and waits for its process.
func (r *runner) receive() {
	defer close(r.reports)
	for in := json.NewDecoder(r.socket); ; {
		var said report
		if err := in.Decode(&said); err != nil {
			break
		}
		r.reports <- said
		if said.Exited || said.Failed != "" {
			break
		}
	}
	for { // what matters it has said
		if _, err := syscall.Wait4(r.guard, &r.status, 0, nil); !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// say tells the guard, and reports whether it has taken this and all before. It may be gone, or stopped for so long that
// wait must not wait for it.
func (r *runner) say(o order) bool { return r.orders.send(o) }

// deadline is that of the lease on the clock of now, 0 for none.
func (r *runner) deadline() int64 {
	at := now() // before the other clock is read: whatever passes in between must not be added
	left := r.lease.Remaining()
	if left == Forever {
		return 0
	}
	return at + int64(left)
}

// extend tells the guard a deadline that has moved. The deadline of a lease that is over says nothing, and that it is
// over is told with Lost.
func (r *runner) extend() {
	if due := r.deadline(); r.lease.Context().Err() == nil && r.say(order{Deadline: due}) {
		r.due = due
	}
}

// catchUp tells the guard a deadline that has moved without anybody saying so: of a renewal that was given up, and confirmed
// later, nobody does.
func (r *runner) catchUp() {
	if r.due != 0 && r.deadline() > r.due {
		r.extend()
	}
}

// lose tells the guard that the lease is lost. It then has less time than until the deadline.
func (r *runner) lose() {
	if r.due == 0 {
		r.due = now() + max(int64(r.killBefore), 2*int64(patience)) // later than the guard would
	} else {
		r.due = min(r.due, now()+int64(r.killBefore))
	}
	r.say(order{Lost: true})
}

func (r *runner) wait(renewed <-chan struct{}, signals <-chan os.Signal) (Result, error) {
	lost := r.lease.Context().Done()
	ticker := time.NewTicker(max(poll, r.killBefore/12))
	defer ticker.Stop()
	for {
		select {
		case said, ok := <-r.reports:
			if result, done, err := r.heed(said, ok); done {
				return result, err
			}
		case <-renewed:
			r.extend()
		case <-lost:
			lost = nil
			r.lose()
		case s := <-signals:
			r.pass(s)
		case <-ticker.C:
			r.catchUp()
			r.overdue()
		}
	}
}

// heed takes a report, and says whether it was the last.
func (r *runner) heed(said report, more bool) (result Result, done bool, err error) {
	switch {
	case !more:
		r.bury()
		if s := r.interruption(); s != 0 {
			return Result{Code: 128 + int(s), Signal: int(s), Terminal: r.tty != nil}, true, nil
		}
		return Result{Ended: true}, true, ErrGone
	case said.Failed != "":
		return Result{}, true, r.drain(&StartError{Path: r.path, Reason: said.Failed})
	case said.Exited:
		said.Result.Terminal = r.tty != nil
		return said.Result, true, r.drain(nil)
	case said.PID != 0:
		r.pid = said.PID
	}
	return Result{}, false, nil
}

// interruption is the signal of which the guard has died before there was a command: of one that it does not heed later. It would
// have ended the command as well, and nothing was lost. It is 0 if the guard is gone for another reason.
func (r *runner) interruption() syscall.Signal {
	const quit = 2 // Go's exit code after SIGQUIT, and after other mishaps
	switch s := r.status.Signal(); {
	case r.pid != 0:
		return 0
	case slices.Contains(foreign(), s):
		return s
	case r.status.ExitStatus() == quit && r.early == unix.SIGQUIT:
		return unix.SIGQUIT
	}
	return 0
}

// drain waits until the guard is gone.
func (r *runner) drain(err error) error {
	for range r.reports {
		continue // only its end matters
	}
	return err
}

// pass passes a signal on, unless the terminal has done so: that it has not if there was no command yet.
func (r *runner) pass(s os.Signal) {
	if r.pid == 0 {
		r.early = s
	}
	if r.pid != 0 && slices.Contains([]os.Signal{unix.SIGINT, unix.SIGQUIT}, s) && r.foreground() {
		return
	}
	switch number := s.(type) {
	case unix.Signal:
		r.say(order{Signal: int(number)})
	case Direct:
		r.say(order{Signal: int(number)})
	}
}

// overdue kills everything if the guard, which is stopped perhaps, should have done it.
func (r *runner) overdue() {
	if r.due != 0 && now() > r.due-int64(r.killBefore)/6 {
		r.kill()
		if !seesAll { // the guard is not among what kill knows of, and its end is what is waited for
			_ = unix.Kill(r.guard, unix.SIGKILL)
		}
	}
}

// bury kills what is left when the guard is gone, until nothing is, or for as long as is reasonable with
// what cannot be killed.
func (r *runner) bury() {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	end := time.After(patience)
	for r.kill(); len(targets(0, 0, true)) > 0; r.kill() {
		select {
		case <-tick.C:
		case <-end:
			return
		}
		for pid := 1; pid > 0; { // orphans of the guard
			pid, _ = syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
		}
	}
}

// kill kills all that descends from this process, or else what is known of it.
func (r *runner) kill() {
	group := r.pid
	if r.tty != nil {
		group = 0
	}
	if group != 0 && started(group, r.guard, os.Getpid()) {
		_ = unix.Kill(-group, unix.SIGKILL) // before the look at all processes, which may take long
	}
	out := targets(group, 0, true)
	if !seesAll && r.pid != 0 {
		out = append(out, r.pid)
	}
	for _, target := range out {
		_ = unix.Kill(target, unix.SIGKILL) // it may be gone by now
	}
}
