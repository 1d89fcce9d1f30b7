package guard

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// seesAll says that targets finds everything that descends from a command.
const seesAll = true

// adopt makes this process the parent of those of its descendants whose own parents die.
func adopt() error {
	return os.NewSyscallError("prctl", unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
}

// rename sets what ps and killall call this process.
func rename(name string) {
	if p, err := unix.BytePtrFromString(name); err == nil {
		_ = unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(p)), 0, 0, 0) // a courtesy
	}
}

// attributes are those of the command's process, in a group that exists or, with 0, one of its own. It is
// killed when the guard's thread ends.
func attributes(group int) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pgid: group, Pdeathsig: syscall.SIGKILL}
}

// process is one line of /proc.
type process struct{ pid, parent, group, session int }

// descendants returns the living processes that descend from one.
func descendants(of int) []process {
	children := make(map[int][]process)
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			if p, ok := read(pid); ok {
				children[p.parent] = append(children[p.parent], p)
			}
		}
	}
	var found []process
	for next := []int{of}; len(next) > 0; next = next[1:] {
		for _, p := range children[next[0]] {
			found = append(found, p)
			next = append(next, p.pid)
		}
	}
	return found
}

// statThreads is where /proc/PID/stat has the number of threads, counted from the state.
const statThreads = 17

// read reads /proc/PID/stat. Processes that have ended are none, but for those that wait for
// this one to take note of it.
func read(pid int) (p process, ok bool) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return p, false
	}
	// The name is in parentheses and may contain anything, parentheses too.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) <= statThreads {
		return p, false
	}
	p.pid = pid
	for i, field := range []*int{&p.parent, &p.group, &p.session} {
		if *field, err = strconv.Atoi(fields[i+1]); err != nil {
			return p, false
		}
	}
	// That the main thread has ended does not end the others, and the process shows as a zombie meanwhile.
	ended := (fields[0] == "Z" || fields[0] == "X") && (fields[statThreads] == "0" || fields[statThreads] == "1")
	return p, !ended || p.parent == os.Getpid()
}

// started reports whether a process is the one that was started by one of these, and leads its process group still. With
// another parent it is somebody else's who got the number.
func started(pid int, parents ...int) bool {
	p, ok := read(pid)
	return ok && p.group == pid && slices.Contains(parents, p.parent)
}

// find returns what kill takes to reach all that is left of a command: of everything that
// descends from this process, or only of what has not left the session. The group is reached as a whole,
// so that none of its members can escape by forking.
func find(group, session int, all bool) []int {
	var out []int
	whole := false
	for _, p := range descendants(os.Getpid()) {
		switch {
		case p.session != session && !all: // a daemon
		case group != 0 && p.group == group:
			whole = true
		default:
			out = append(out, p.pid)
		}
	}
	if whole {
		out = append(out, -group)
	}
	return out
}

// replace puts another file in the place of descriptor fd.
func replace(file *os.File, fd int) error {
	return os.NewSyscallError("dup3", unix.Dup3(int(file.Fd()), fd, 0))
}

// self is what to execute for another process of this program, also if its file has been
// replaced meanwhile.
func self() (string, error) { return "/proc/self/exe", nil }
