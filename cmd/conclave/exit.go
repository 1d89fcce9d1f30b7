package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"github.com/redis/go-redis/v9"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/conclave-go/conclave/cmd/conclave/internal/guard"
	"github.com/conclave-go/conclave/election"
	"github.com/conclave-go/conclave/lock"
	"github.com/conclave-go/conclave/redlock"
)

// Exit codes, besides those of the command that is run. They are those of sysexits.h, where
// shells and their like do not use the numbers.
const (
	exitUnwell      = 1   // doctor has found something that is wrong
	exitUsage       = 64  // wrong flags or arguments
	exitUnavailable = 69  // etcd cannot be reached, or has no leader
	exitFailure     = 70  // anything else
	exitNotObtained = 75  // somebody else has it
	exitLost        = 76  // it was lost, and the command ended
	exitRefused     = 77  // wrong credentials, or no permission
	exitCannotRun   = 126 // the command is not executable
	exitNoCommand   = 127 // there is no such command
	exitSignal      = 128 // and the number of the signal that ended the command, or the wait
)

// exitError is an error with its exit code. Without an error nothing is said.
type exitError struct {
	code int
	err  error
	die  syscall.Signal // that this program dies of, if not 0
}

// Error is that of the error inside.
func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

// Unwrap returns the error inside.
func (e *exitError) Unwrap() error { return e.err }

// interruption is the cause of a context's end by a signal.
type interruption struct{ signal os.Signal }

// Error names the signal.
func (i interruption) Error() string { return "interrupted: " + i.signal.String() }

// usage marks an error as one of flags and arguments.
func usage(err error) error { return &exitError{code: exitUsage, err: err} }

func usagef(format string, args ...any) error { return usage(fmt.Errorf(format, args...)) }

// report says what has gone wrong and returns the exit code.
func (a *app) report(err error) int {
	if err == nil {
		return 0
	}
	if quiet, ok := errors.AsType[*exitError](err); ok && quiet.err == nil {
		if quiet.die != 0 {
			die(quiet.die)
		}
		return quiet.code
	}
	if stop, ok := errors.AsType[interruption](err); ok {
		return exitSignal + number(stop.signal)
	}
	a.note("%v", err)
	return code(err)
}

func number(s os.Signal) int {
	if n, ok := s.(syscall.Signal); ok {
		return int(n)
	}
	return int(syscall.SIGTERM)
}

// code is the exit code for an error.
func code(err error) int {
	var with *exitError
	var permits *lock.PermitsError
	var start *guard.StartError
	var mixed *mixedError
	switch {
	case errors.As(err, &with):
		return with.code
	case errors.As(err, &start):
		return exitCannotRun
	case errors.Is(err, lock.ErrLocked), errors.Is(err, redlock.ErrLocked), errors.As(err, &permits), errors.As(err, &mixed):
		return exitNotObtained
	case refused(err):
		return exitRefused
	case isLoss(err):
		return exitLost
	case unreachable(err):
		return exitUnavailable
	default:
		return exitFailure
	}
}

// isLoss reports whether what was held was lost. That its lease was is not enough: that may have been after the release, of which
// only the confirmation is missing.
func isLoss(err error) bool {
	return errors.Is(err, lock.ErrLost) || errors.Is(err, election.ErrLost) || errors.Is(err, redlock.ErrLost)
}

// refused reports whether etcd, or so many Redis nodes that the others are no quorum, know the user, or the permission, not
// to be right.
func refused(err error) bool {
	if quorum, ok := errors.AsType[*redlock.QuorumError](err); ok {
		return denials(quorum) > len(quorum.Nodes)-quorum.Quorum
	}
	for _, known := range []error{
		rpctypes.ErrAuthFailed, rpctypes.ErrUserEmpty, rpctypes.ErrPermissionDenied, rpctypes.ErrPermissionNotGranted,
		rpctypes.ErrInvalidAuthToken, rpctypes.ErrAuthNotEnabled,
	} {
		if errors.Is(rpctypes.Error(err), known) || errors.Is(err, known) {
			return true
		}
	}
	switch grpcCode(err) {
	case codes.PermissionDenied, codes.Unauthenticated:
		return true
	default:
		return false
	}
}

// denials is how many nodes have refused the user. Up to Redis 6.2, the reply to a script only quotes why.
func denials(quorum *redlock.QuorumError) int {
	n := 0
	for _, node := range quorum.Nodes {
		for _, prefix := range []string{"NOAUTH", "WRONGPASS", "NOPERM"} {
			if node.Err != nil && (redis.HasErrorPrefix(node.Err, prefix) || strings.Contains(node.Err.Error(), ": -"+prefix)) {
				n++
				break
			}
		}
	}
	return n
}

// unreachable reports whether there was no answer.
func unreachable(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || unanswered(err) || grpcCode(err) == codes.Unavailable
}

// grpcCode is that of the first error in the chain that has one.
func grpcCode(err error) codes.Code {
	for e := err; e != nil; e = errors.Unwrap(e) {
		if etcd, ok := errors.AsType[rpctypes.EtcdError](e); ok {
			return etcd.Code()
		}
		if s, ok := status.FromError(e); ok {
			return s.Code()
		}
	}
	return codes.Unknown
}

// exitCode is that of a process, and 128 and the signal that killed it, as shells say it.
func exitCode(p *os.ProcessState) int {
	if status, ok := p.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return exitSignal + int(status.Signal())
	}
	return p.ExitCode()
}

// program finds the file of a command as a shell does.
func program(name string) (string, error) {
	path, err := exec.LookPath(name)
	switch {
	case err == nil, errors.Is(err, exec.ErrDot):
		return path, nil
	case errors.Is(err, fs.ErrPermission):
		return "", &exitError{code: exitCannotRun, err: fmt.Errorf("command %q: %w", name, err)}
	default:
		return "", &exitError{code: exitNoCommand, err: fmt.Errorf("command %q: not found", name)}
	}
}
