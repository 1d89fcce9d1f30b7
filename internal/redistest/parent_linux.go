package redistest

import (
	"os/exec"
	"syscall"
)

// dieWithParent lets the kernel kill cmd when this program ends, however it does.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
