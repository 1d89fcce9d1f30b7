package proctest_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/conclave-go/conclave/internal/proctest"
)

func TestMain(m *testing.M) {
	proctest.Play(proctest.Roles{"echo": echo, "fail": func([]string) error { return errors.New("as it was told") }})
	goleak.VerifyTestMain(m)
}

// echo prints its arguments, and then each line that it is told.
func echo(args []string) error {
	fmt.Println(strings.Join(args, "|"))
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		fmt.Println(in.Text())
	}
	return nil
}

func TestAProcessPlaysItsRole(t *testing.T) {
	t.Parallel()
	p := proctest.Start(t, "echo", "a b", "", "c")
	require.Equal(t, "a b||c", p.Says(t, "a"))
	p.Tell(t, "hello")
	require.Equal(t, "hello", p.Says(t, "hell"))
}

func TestAStoppedProcessSaysNothingUntilItContinues(t *testing.T) {
	t.Parallel()
	p := proctest.Start(t, "echo")
	p.Says(t, "")
	p.Stop(t)
	p.Tell(t, "hello")
	said := make(chan struct{})
	go func() {
		defer close(said)
		p.Says(t, "hello")
	}()
	select {
	case <-said:
		require.Fail(t, "a stopped process speaks")
	case <-time.After(100 * time.Millisecond): // it would have in one
	}
	p.Continue(t)
	<-said
}

func TestAKilledProcessHearsNothing(t *testing.T) {
	t.Parallel()
	p := proctest.Start(t, "echo")
	p.Says(t, "")
	p.Stop(t)
	p.Kill(t) // although it is stopped
}

// runRole runs this binary in a role that Start does not check.
func runRole(t *testing.T, spec string) (output string, err error) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "CONCLAVE_PROCTEST_ROLE="+spec)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestAFailureOfARoleIsTold(t *testing.T) {
	t.Parallel()
	for spec, message := range map[string]string{
		`["fail"]`:    "as it was told",
		`["unknown"]`: `no role "unknown"`,
		`{`:           "CONCLAVE_PROCTEST_ROLE",
	} {
		out, err := runRole(t, spec)
		require.Error(t, err)
		require.Contains(t, out, message)
	}
}
