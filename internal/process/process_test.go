package process_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/conclave-go/conclave/internal/process"
	"github.com/conclave-go/conclave/internal/suite"
)

// hang bounds what should have happened long before.
const hang = 5 * time.Minute

// report is what the children of these tests say.
type report struct {
	Text string
	At   int64
	PID  int
}

func TestMain(m *testing.M) {
	process.Main(map[string]process.Role{"echo": echo, "fail": fail, "leave": leave, "obey": obey, "stay": stay, "tell": tell, "trip": trip, "wait": wait})
	goleak.VerifyTestMain(suite.Of(m))
}

// echo repeats its job and each line that it is told, to its end.
func echo(ctx context.Context, line *process.Line) error {
	var job string
	say := func(text string) { line.Report(report{Text: text, At: process.Now(), PID: os.Getpid()}) }
	return line.Serve(ctx, &job, say, func(ctx context.Context) error {
		say(job)
		<-ctx.Done()
		return nil
	})
}

func fail(context.Context, *process.Line) error { return errors.New("on purpose") }

// leave ends by itself, without an error, when it has reported a long line.
func leave(_ context.Context, line *process.Line) error {
	line.Report(report{Text: strings.Repeat("x", longLine)})
	return nil
}

// obey ends without an error on SIGTERM.
func obey(ctx context.Context, line *process.Line) error {
	var job string
	return line.Serve(ctx, &job, func(string) {}, func(ctx context.Context) error {
		ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM)
		defer stop()
		line.Report(report{Text: job})
		<-ctx.Done()
		return nil
	})
}

// longLine is longer than a [bufio.Scanner] takes by itself.
const longLine = 100_000

// stay does not end when it should.
func stay(ctx context.Context, line *process.Line) error {
	process.SetGrace(100 * time.Millisecond)
	var job string
	return line.Serve(ctx, &job, func(string) {}, func(context.Context) error { select {} })
}

// tell fails when it has said something.
func tell(_ context.Context, line *process.Line) error {
	line.Report(report{})
	return errors.New("on purpose")
}

// wait returns the error of a call that its end interrupts.
func wait(ctx context.Context, line *process.Line) error {
	var job string
	return line.Serve(ctx, &job, func(string) {}, func(ctx context.Context) error {
		line.Report(report{Text: job})
		<-ctx.Done()
		return fmt.Errorf("a call: %w", ctx.Err())
	})
}

// trip panics when it cleans up, after many words.
func trip(ctx context.Context, line *process.Line) error {
	var job string
	return line.Serve(ctx, &job, func(string) {}, func(ctx context.Context) error {
		line.Report(report{Text: job})
		<-ctx.Done()
		panic("on purpose" + strings.Repeat(" word", 1000))
	})
}

// start starts a child whose reports and end come out of the channels.
func start(t *testing.T, role string) (*process.Process, <-chan report, <-chan string) {
	t.Helper()
	reports, ended := make(chan report, 10), make(chan string, 1)
	p, err := process.Start("child", role, "the job", func(r report) { reports <- r }, func(detail string) { ended <- detail })
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, p.Kill())
		p.Wait()
	})
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
	require.NoError(t, p.Quit())
	require.Empty(t, receive(t, ended), "it was asked to go")
}

func TestAPausedChildAnswersWhenItIsResumed(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/proc/self/stat"); !process.CanPause || err != nil {
		t.Skip("no SIGSTOP here, or nothing that tells when it has taken effect")
	}
	p, reports, _ := start(t, "echo")
	pid := receive(t, reports).PID
	for range 20 {
		require.NoError(t, p.Resume())
		require.NoError(t, p.Pause(t.Context()))
		require.Equal(t, "T", state(t, pid), "it has stopped")
	}
	require.NoError(t, p.Send("a line"))
	resumed := process.Now()
	require.NoError(t, p.Resume())
	require.Greater(t, receive(t, reports).At, resumed)
}

// state is that of a process, as the system has it.
func state(t *testing.T, pid int) string {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	require.NoError(t, err)
	_, after, _ := strings.Cut(string(stat), ") ")
	return after[:1]
}

func TestAPausedChildEndsInGoodOrderWhenItIsAsked(t *testing.T) {
	t.Parallel()
	if !process.CanPause {
		t.Skip("no SIGSTOP here")
	}
	p, reports, ended := start(t, "echo")
	receive(t, reports)
	require.NoError(t, p.Pause(t.Context()))
	p.Ask()
	require.Empty(t, receive(t, ended), "it was asked to go")
	require.ErrorContains(t, p.Pause(t.Context()), "ended in good order")
}

func TestAChildThatIsGoneCannotBePausedOrTold(t *testing.T) {
	t.Parallel()
	if !process.CanPause {
		t.Skip("no SIGSTOP here")
	}
	p, _, ended := start(t, "leave")
	receive(t, ended)
	require.EqualError(t, p.Pause(t.Context()), "child ended by itself")
	require.EqualError(t, p.Resume(), "child ended by itself")
	require.EqualError(t, p.Send("a line"), "child ended by itself")
	require.NoError(t, p.Quit())
}

// The child is found to be gone before its parent has heard of its end, or after.
func TestWhoeverCannotReachAChildLearnsHowItEnded(t *testing.T) {
	t.Parallel()
	if !process.CanPause {
		t.Skip("no SIGSTOP here")
	}
	for range 5 {
		p, _, _ := start(t, "fail")
		began := time.Now()
		var err error
		for err == nil {
			require.Less(t, time.Since(began), hang)
			if err = p.Pause(t.Context()); err == nil {
				err = p.Resume()
				<-time.After(time.Millisecond) // it has to get on
			}
		}
		require.EqualError(t, err, "child ended: exit status 1 on purpose")
	}
}

func TestAPanicWhileAChildCleansUpIsReportedFromItsBeginningToItsEnd(t *testing.T) {
	t.Parallel()
	p, reports, ended := start(t, "trip")
	receive(t, reports)
	p.Ask()
	detail := receive(t, ended)
	require.Contains(t, detail, "child ended: exit status 2 panic: on purpose")
	require.Regexp(t, `\n\.\.\. \d+ bytes \.\.\.\n`, detail)
	require.Contains(t, detail, "main.main()", "where it was")
	require.Less(t, len(detail), 3<<10)
}

// Its status says that it was not the kill that ended it.
func TestAChildThatFailedBeforeItWasKilledIsReported(t *testing.T) {
	suite.Nightly(t) // it takes the patience of Kill, which is 5 s
	t.Parallel()
	var p *process.Process
	reports, ended := make(chan report, 1), make(chan string, 1)
	killed := make(chan struct{})
	p, err := process.Start("child", "tell", "the job", func(r report) {
		reports <- r
		<-killed // its end is not passed on before
	}, func(detail string) { ended <- detail })
	require.NoError(t, err)
	receive(t, reports)
	require.Eventually(t, func() bool { return p.Send("is it there?") != nil }, hang, time.Millisecond)
	require.NoError(t, p.Kill())
	close(killed)
	require.Contains(t, receive(t, ended), "exit status 1")
}

func TestAChildThatIsTerminatedIsReportedUnlessItEndsInGoodOrder(t *testing.T) {
	t.Parallel()
	p, reports, ended := start(t, "obey")
	receive(t, reports)
	require.NoError(t, p.Terminate())
	require.Empty(t, receive(t, ended), "it was told to end")
	require.NoError(t, p.Terminate(), "again")
	if !process.CanPause {
		return // no SIGTERM either
	}
	p, reports, ended = start(t, "echo")
	receive(t, reports)
	require.NoError(t, p.Terminate())
	require.Contains(t, receive(t, ended), "signal: terminated")
}

func TestAChildThatFailsIsReported(t *testing.T) {
	t.Parallel()
	ended := make(chan string, 1)
	job := strings.Repeat("x", 1<<20) // more than fits into a pipe that nobody reads
	p, err := process.Start("child", "fail", job, func(report) {}, func(detail string) { ended <- detail })
	require.NoError(t, err)
	p.Wait()
	detail := receive(t, ended)
	require.Contains(t, detail, "exit status 1")
	require.Contains(t, detail, "on purpose")
}

func TestAChildThatEndsByItselfIsReportedAfterAllThatItSaid(t *testing.T) {
	t.Parallel()
	_, reports, ended := start(t, "leave")
	require.Equal(t, "child ended by itself", receive(t, ended))
	require.Len(t, reports, 1)
	require.Len(t, (<-reports).Text, longLine)
}

func TestAChildThatDoesNotUnderstandItsJobIsReported(t *testing.T) {
	t.Parallel()
	ended := make(chan string, 1)
	p, err := process.Start("child", "echo", 1, func(report) {}, func(detail string) { ended <- detail })
	require.NoError(t, err)
	p.Wait()
	require.Contains(t, receive(t, ended), "job: json")
}

func TestAJobThatCannotBeToldStartsNoChild(t *testing.T) {
	t.Parallel()
	_, err := process.Start("child", "echo", make(chan int), func(report) {}, func(string) { t.Error("there is a child") })
	require.ErrorContains(t, err, "unsupported type")
}

func TestAllChildrenEndInGoodOrderPausedOrKilledOrNot(t *testing.T) {
	t.Parallel()
	var all []*process.Process
	var ended []<-chan string
	for range 3 {
		p, reports, end := start(t, "echo")
		receive(t, reports)
		all, ended = append(all, p), append(ended, end)
	}
	if process.CanPause {
		require.NoError(t, all[0].Pause(t.Context()))
	}
	require.NoError(t, all[1].Kill())
	require.NoError(t, process.QuitAll(all...))
	for _, end := range ended {
		require.Empty(t, receive(t, end))
	}
	require.NoError(t, process.QuitAll(all...), "again")
}

func TestAPausedChildIsKilled(t *testing.T) {
	t.Parallel()
	p, reports, ended := start(t, "echo")
	receive(t, reports)
	if process.CanPause {
		require.NoError(t, p.Pause(t.Context()))
	}
	require.NoError(t, p.Kill())
	require.Empty(t, receive(t, ended))
	require.NoError(t, p.Kill(), "again")
}

// Nobody kills this child: its work ignores the end of its context, which is all that it
// would see of the death of its parent.
func TestAChildWhoseWorkDoesNotEndIsGoneAfterTheGrace(t *testing.T) {
	t.Parallel()
	p, _, ended := start(t, "stay")
	p.Ask()
	require.Equal(t, "child ended: exit status 1 not over 100ms after it was told to end", receive(t, ended))
}

func TestAChildThatItsEndInterruptsHasNotFailed(t *testing.T) {
	t.Parallel()
	p, reports, ended := start(t, "wait")
	receive(t, reports)
	p.Ask()
	require.Empty(t, receive(t, ended))
}

func TestAnUnknownRoleIsReported(t *testing.T) {
	t.Parallel()
	_, _, ended := start(t, "nobody")
	require.Contains(t, receive(t, ended), "no such role")
}
