//go:build unix

package election_test

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/etcdtest"
)

// process is a candidate that can be killed and stopped.
type process struct {
	cmd *exec.Cmd
	in  io.Writer
	out chan string // its lines
}

func startCandidate(t *testing.T, c *etcdtest.Cluster, name, value string) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), candidateVariable+"="+strings.Join([]string{c.Endpoints()[0], name, value}, " "))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	p := &process{cmd: cmd, in: in, out: make(chan string, 100)}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			p.out <- lines.Text()
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // works on a stopped process, too
		<-read
		_ = cmd.Wait() // "signal: killed"
	})
	return p
}

// says requires that the process says something that begins with these words.
func (p *process) says(t *testing.T, words string) {
	t.Helper()
	line := await(t, p.out, words)
	require.True(t, strings.HasPrefix(line, words), "%q should begin with %q", line, words)
}

func (p *process) ask(t *testing.T) {
	t.Helper()
	_, err := io.WriteString(p.in, "\n")
	require.NoError(t, err)
}

func TestALeaderThatIsKilledIsSucceededWithinItsTTLAndASecond(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	leader := startCandidate(t, c, "e", "a")
	leader.says(t, "elected")
	next := newPeer(t, c)
	done, _ := next.queueUp(guarded(t), t, "e", "b")
	leader.ask(t)
	leader.says(t, "guard true txn lost false proclaim lost false")
	o := observe(guarded(t), t, next.Client, "e")
	o.next(t, "a again")
	require.NoError(t, leader.cmd.Process.Kill())
	killed := time.Now()
	term := elected(t, done)
	t.Logf("elected %v after the kill, TTL %v", time.Since(killed), candidateTTL) // asserted in virtual time
	o.next(t, "b")
	resign(t, term)
}

func TestALeaderThatWasStoppedForLongerThanItsTTLWritesNothing(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	leader := startCandidate(t, c, "e", "a")
	leader.says(t, "elected")
	leader.ask(t)
	leader.says(t, "guard true txn lost false proclaim lost false err lost false")
	next := newPeer(t, c)
	done, _ := next.queueUp(guarded(t), t, "e", "b")

	process := leader.cmd.Process
	require.NoError(t, process.Signal(syscall.SIGSTOP))
	var status syscall.WaitStatus
	_, err := syscall.Wait4(process.Pid, &status, syscall.WUNTRACED, nil)
	require.NoError(t, err)
	require.True(t, status.Stopped())
	leader.ask(t) // what it does first when it wakes up
	term := elected(t, done)
	require.Equal(t, "a", string(get(t, next.Client, "e/written-by").Value))
	require.NoError(t, term.Proclaim(guarded(t), "b2"))
	put(t, next.Client, "e/written-by", "b")

	require.NoError(t, process.Signal(syscall.SIGCONT))
	leader.says(t, "guard false txn lost true proclaim lost true err lost true")
	require.Equal(t, "b", string(get(t, next.Client, "e/written-by").Value))
	require.Equal(t, []string{"b2"}, values(t, next.Client, "e"))
	resign(t, term)
}
