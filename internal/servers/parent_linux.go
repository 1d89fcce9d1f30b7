package servers

import "golang.org/x/sys/unix"

// dieWithParent lets the kernel kill this program when its parent ends, however it does,
// also once it is another program.
func dieWithParent() error {
	return unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0)
}
