package process_test

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/conclave-go/conclave/internal/process"
)

// hang bounds what should have happened long before.
const hang = 30 * time.Second

// report is what the children of these tests say.
type report struct {
	Text string
	At   int64
}

func TestMain(m *testing.M) {
	process.Main(map[string]process.Role{"echo": echo, "fail": fail, "stay": stay})
	goleak.VerifyTestMain(m)
}

// echo repeats its job and each line that it is told, to its end.
func echo(ctx context.Context, line *process.Line) error {
	var job string
	say := func(text string) { line.Report(report{Text: text, At: process.Now()}) }
	return line.Serve(ctx, &job, say, func(ctx context.Context) error {
		say(job)
		<-ctx.Done()
		return nil
	})
}

func fail(context.Context, *process.Line) error { return errors.New("on purpose") }

// stay does not end when it should.
func stay(ctx context.Context, line *process.Line) error {
	var job string
	return line.Serve(ctx, &job, func(string) {}, func(context.Context) error { select {} })
}

// start starts a child whose reports and end come out of the channels.
func start(t *testing.T, role string) (*process.Process, <-chan report, <-chan string) {
	t.Helper()
	reports, ended := make(chan report, 10), make(chan string, 1)
	p, err := process.Start("child", role, "the job", func(r report) { reports <- r }, func(detail string) { ended <- detail })
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Quit(0)) })
	return p, reports, ended
}

func receive[E any](t *testing.T, from <-chan E) (e E) {
	t.Helper()
	select {
	case e = <-from:
	case <-time.After(hang):
		require.Fail(t, "nothing came")
	}
	return e
}

func TestAChildIsToldAndReportsOnAClockThatIsShared(t *testing.T) {
	t.Parallel()
	began := process.Now()
	p, reports, ended := start(t, "echo")
	require.Equal(t, "the job", receive(t, reports).Text)
	require.NoError(t, p.Send("a line"))
	r := receive(t, reports)
	require.Equal(t, "a line", r.Text)
	require.Greater(t, r.At, began)
	require.Less(t, r.At, process.Now())
	require.NoError(t, p.Quit(hang))
	require.Empty(t, receive(t, ended), "it was asked to go")
}

func TestAPausedChildAnswersWhenItIsResumed(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/proc/self/stat"); !process.CanPause || err != nil {
		t.Skip("no SIGSTOP here, or nothing that tells when it has taken effect")
	}
	p, reports, _ := start(t, "echo")
	receive(t, reports)
	require.NoError(t, p.Pause(t.Context()))
	require.NoError(t, p.Send("a line"))
	resumed := process.Now()
	require.NoError(t, p.Resume())
	require.Greater(t, receive(t, reports).At, resumed)
}

func TestAChildThatFailsIsReported(t *testing.T) {
	t.Parallel()
	_, _, ended := start(t, "fail")
	detail := receive(t, ended)
	require.Contains(t, detail, "exit status 1")
	require.Contains(t, detail, "on purpose")
}

func TestAPausedChildIsKilledWhenItDoesNotGo(t *testing.T) {
	t.Parallel()
	p, reports, ended := start(t, "echo")
	receive(t, reports)
	require.NoError(t, p.Pause(t.Context()))
	require.NoError(t, p.Kill())
	require.Empty(t, receive(t, ended))
	require.NoError(t, p.Kill(), "again")
}

func TestAChildThatStaysIsGoneWithoutAParentToKillIt(t *testing.T) {
	t.Parallel()
	p, _, ended := start(t, "stay")
	quit := make(chan error, 1)
	go func() { quit <- p.Quit(10 * hang) }()
	require.NoError(t, receive(t, quit))
	require.Empty(t, receive(t, ended))
}

func TestAnUnknownRoleIsReported(t *testing.T) {
	t.Parallel()
	_, _, ended := start(t, "nobody")
	require.Contains(t, receive(t, ended), "no such role")
}
