//go:build !unix

package main

import (
	"errors"
	"os"
	"syscall"
)

// canStop says that a process can be stopped and continued here.
const canStop = false

func stopProcess(*os.Process) error   { return errors.ErrUnsupported }
func resumeProcess(*os.Process) error { return nil }

func workerAttributes() *syscall.SysProcAttr { return nil }
