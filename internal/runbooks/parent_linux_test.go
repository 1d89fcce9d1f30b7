package runbooks_test

import (
	"os/exec"
	"syscall"
)

// dieWithParent lets the kernel kill a member when the test binary ends, however it does.
func dieWithParent(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
