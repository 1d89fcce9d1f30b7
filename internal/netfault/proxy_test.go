package netfault_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/netfault"
)

func TestStartRefusesATargetWithoutAPort(t *testing.T) {
	t.Parallel()
	_, err := netfault.Start("localhost")
	require.ErrorContains(t, err, `"localhost"`)
}

func TestProxyForwardsBothWays(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	p := start(t, s.ln.Addr().String())
	require.Equal(t, s.ln.Addr().String(), p.Target())

	c := connected(t, p)
	require.Equal(t, "hello\n", receive(t, s.lines))
	require.Equal(t, 1, p.Connections())
	require.NoError(t, c.Close())
	require.ErrorIs(t, receive(t, s.ends), io.EOF)
	require.Eventually(t, func() bool { return p.Connections() == 0 }, guard, time.Millisecond)
}

func TestProxyLeadsNewConnectionsElsewhere(t *testing.T) {
	t.Parallel()
	first, second := startServer(t), startServer(t)
	p := start(t, first.ln.Addr().String())
	connected(t, p)
	receive(t, first.lines)
	p.Retarget(second.ln.Addr().String())
	require.Equal(t, second.ln.Addr().String(), p.Target())
	connected(t, p)
	require.Equal(t, "hello\n", receive(t, second.lines))
	require.Equal(t, 2, p.Connections())
}

func TestProxyKeepsEveryByteOfALargeTransferInOrder(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	p := start(t, s.ln.Addr().String())
	c := dial(t, p)

	var want bytes.Buffer
	go func() {
		for i := range 20_000 {
			if _, err := fmt.Fprintf(c, "%d %s\n", i, strings.Repeat("x", i%100)); err != nil {
				return
			}
		}
		_ = c.CloseWrite()
	}()
	for i := range 20_000 {
		fmt.Fprintf(&want, "re %d %s\n", i, strings.Repeat("x", i%100))
		<-s.lines
	}
	require.NoError(t, c.SetReadDeadline(time.Now().Add(guard)))
	got, err := io.ReadAll(c)
	require.NoError(t, err)
	require.True(t, bytes.Equal(want.Bytes(), got))
}

func TestProxyResetsAConnectionToATargetThatIsDown(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := start(t, ln.Addr().String())
	require.NoError(t, ln.Close())

	requireDialReset(t, p)
}

func TestProxyHandsOnAReset(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	p := start(t, s.ln.Addr().String())

	c := connected(t, p)
	require.NoError(t, c.SetLinger(0))
	require.NoError(t, c.Close())
	requireReset(t, receive(t, s.ends))

	other := connected(t, p)
	receive(t, s.conns)
	atServer := receive(t, s.conns)
	require.NoError(t, atServer.SetLinger(0))
	require.NoError(t, atServer.Close())
	other.expectReset()
}

func TestBlackholeHoldsBothDirectionsUntilHeal(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	p := start(t, s.ln.Addr().String())
	c := connected(t, p)
	receive(t, s.lines)

	p.Blackhole()
	c.send("held\n")
	requireNothing(t, s.lines)
	_, err := io.WriteString(receive(t, s.conns), "push\n")
	require.NoError(t, err)
	c.expectSilence()

	p.Heal()
	c.expect("push\n")
	c.expect("re held\n")
}

func TestBlackholeAcceptsNewConnectionsThatTheServerSeesAfterHeal(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	p := start(t, s.ln.Addr().String())

	p.Blackhole()
	c := dial(t, p)
	c.send("early\n")
	requireNothing(t, s.conns)
	p.Heal()
	c.expect("re early\n")
}

func TestBlackholeHoldsTheEndOfAConnection(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	p := start(t, s.ln.Addr().String())
	c := connected(t, p)

	p.Blackhole()
	require.NoError(t, c.Close())
	requireNothing(t, s.ends)
	p.Heal()
	require.ErrorIs(t, receive(t, s.ends), io.EOF)
}

func TestBlackholeBlocksTheWriterByBackpressure(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	p := start(t, s.ln.Addr().String())
	c := connected(t, p)

	p.Blackhole()
	require.NoError(t, c.SetWriteDeadline(time.Now().Add(4*silence)))
	line := append(bytes.Repeat([]byte("x"), 1<<20-1), '\n')
	sent := 0
	var err error
	for err == nil && sent < 1<<30 {
		var n int
		n, err = c.Write(line)
		sent += n
	}
	require.ErrorIs(t, err, os.ErrDeadlineExceeded, "after %d bytes", sent)
}

func TestBlackholeToServerLetsTheServerSpeak(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	p := start(t, s.ln.Addr().String())
	c := connected(t, p)
	receive(t, s.lines)

	p.BlackholeToServer()
	c.send("held\n")
	_, err := io.WriteString(receive(t, s.conns), "push\n")
	require.NoError(t, err)
	c.expect("push\n")
	requireNothing(t, s.lines)
	p.Heal()
	c.expect("re held\n")
}

func TestBlackholeToClientLetsTheServerAct(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	p := start(t, s.ln.Addr().String())
	c := connected(t, p)
	receive(t, s.lines)

	p.BlackholeToClient()
	c.send("done\n")
	require.Equal(t, "done\n", receive(t, s.lines))
	c.expectSilence()
	p.Heal()
	c.expect("re done\n")
}

func TestFaultsAddUp(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	p := start(t, s.ln.Addr().String())
	c := connected(t, p)
	receive(t, s.lines)

	p.BlackholeToServer()
	p.BlackholeToClient()
	c.send("held\n")
	_, err := io.WriteString(receive(t, s.conns), "push\n")
	require.NoError(t, err)
	requireNothing(t, s.lines)
	c.expectSilence()
}

func TestDelayAppliesToEveryChunkEachWayAndKeepsOrder(t *testing.T) {
	t.Parallel()
	const delay, lines = 500 * time.Millisecond, 40
	s := startServer(t)
	p := start(t, s.ln.Addr().String())
	c := connected(t, p)
	receive(t, s.lines)

	p.Delay(delay)
	begin := time.Now()
	for i := range lines {
		c.send(fmt.Sprintf("%d\n", i))
		// Lets the lines travel as chunks of their own.
		requireElapses(t, time.Millisecond)
	}
	for i := range lines {
		require.Equal(t, fmt.Sprintf("%d\n", i), receive(t, s.lines))
	}
	require.GreaterOrEqual(t, time.Since(begin), delay)
	for i := range lines {
		c.expect(fmt.Sprintf("re %d\n", i))
	}
	require.GreaterOrEqual(t, time.Since(begin), 2*delay)
	require.Less(t, time.Since(begin), lines*delay, "chunks must wait side by side, not one after another")
}

func TestDelayMayBeOfOneDirectionOnly(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	p := start(t, s.ln.Addr().String())
	c := connected(t, p)
	receive(t, s.lines)

	p.DelayToClient(time.Hour)
	c.send("there\n")
	require.Equal(t, "there\n", receive(t, s.lines))
	c.expectSilence()
	p.DelayToClient(0)
	c.expect("re there\n")

	p.DelayToServer(time.Hour)
	_, err := io.WriteString(receive(t, s.conns), "push\n")
	require.NoError(t, err)
	c.expect("push\n")
	c.send("late\n")
	requireNothing(t, s.lines)
	p.DelayToServer(0)
	c.expect("re late\n")
}

func requireElapses(t *testing.T, d time.Duration) {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	receive(t, timer.C)
}

func TestHealDeliversDelayedBytesAtOnce(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	p := start(t, s.ln.Addr().String())
	c := connected(t, p)
	receive(t, s.lines)

	p.Delay(time.Hour)
	c.send("late\n")
	requireNothing(t, s.lines)
	p.Heal()
	c.expect("re late\n")
}

func TestRateIsThatOfALineWhichConnectionsShare(t *testing.T) {
	t.Parallel()
	const rate, size = 1 << 20, 256 << 10
	s := startServer(t)
	p := start(t, s.ln.Addr().String())
	clients := []*client{dial(t, p), dial(t, p)}

	p.RateToServer(rate)
	begin := time.Now()
	for _, c := range clients {
		c.send(strings.Repeat("x", size-1) + "\n")
	}
	receive(t, s.lines)
	receive(t, s.lines)
	// What the line makes up for when a writer is late is the rest.
	require.GreaterOrEqual(t, time.Since(begin), 2*size*time.Second/rate-20*time.Millisecond)
	for _, c := range clients {
		require.Len(t, c.line(), len("re ")+size)
	}
}

func TestRateMayBeOfOneDirectionOnlyAndEndsWithHeal(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	p := start(t, s.ln.Addr().String())
	c := connected(t, p)
	receive(t, s.lines)

	p.RateToClient(1)
	c.send("slow\n")
	require.Equal(t, "slow\n", receive(t, s.lines))
	c.expectSilence()
	p.RateToClient(0)
	c.expect("re slow\n")

	p.RateToServer(1)
	_, err := io.WriteString(receive(t, s.conns), "push\n")
	require.NoError(t, err)
	c.expect("push\n")
	c.send(strings.Repeat("x", 1<<16) + "\n")
	requireNothing(t, s.lines)
	p.Heal()
	require.Len(t, c.line(), len("re ")+1<<16+1)
}

func TestRateHoldsBothDirectionsAndGoesWithADelay(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	p := start(t, s.ln.Addr().String())
	c := connected(t, p)
	receive(t, s.lines)

	p.Rate(1)
	p.Delay(time.Hour)
	c.send("both\n")
	p.Delay(0)
	requireNothing(t, s.lines)
	p.RateToServer(0)
	require.Equal(t, "both\n", receive(t, s.lines))
	c.expectSilence()
	p.Rate(0)
	c.expect("re both\n")
}

func TestResetBreaksBothSidesAndAcceptsNewConnections(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	p := start(t, s.ln.Addr().String())
	c := connected(t, p)

	p.Reset()
	c.expectReset()
	requireReset(t, receive(t, s.ends))
	connected(t, p)
}

func TestRefuseResetsNewConnectionsUntilHeal(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	p := start(t, s.ln.Addr().String())
	c := connected(t, p)
	receive(t, s.conns)

	p.Refuse()
	c.expectReset()
	requireDialReset(t, p)
	requireNothing(t, s.conns)
	p.Heal()
	connected(t, p)
}

func TestHalfOpenClosesTheServerSideAndLeavesTheClientSilent(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	p := start(t, s.ln.Addr().String())
	c := connected(t, p)
	receive(t, s.conns)

	p.HalfOpen()
	require.Error(t, receive(t, s.ends))
	c.send("anybody?\n")
	c.expectSilence()
	hung := dial(t, p)
	hung.send("there?\n")
	hung.expectSilence()
	requireNothing(t, s.conns)

	p.Heal()
	c.expectReset()
	hung.expect("re there?\n")
}

func TestForgetLeavesOpenConnectionsSilentAndServesNewOnes(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	p := start(t, s.ln.Addr().String())
	c := connected(t, p)
	receive(t, s.lines)
	atServer := receive(t, s.conns)

	p.Forget()
	c.send("anybody?\n")
	_, err := io.WriteString(atServer, "push\n")
	require.NoError(t, err)
	requireNothing(t, s.lines)
	c.expectSilence()
	requireNothing(t, s.ends)
	other := connected(t, p)

	p.Heal()
	c.expectReset()
	requireReset(t, receive(t, s.ends))
	other.send("still\n")
	other.expect("re still\n")
}

func TestDropNextReplyDropsTheAnswerToARequestTheServerGot(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	p := start(t, s.ln.Addr().String())
	bystander, c := connected(t, p), connected(t, p)
	receive(t, s.lines)
	receive(t, s.lines)

	dropped := p.DropNextReply()
	require.Equal(t, dropped, p.DropNextReply(), "one drop is pending at a time")
	requireNothing(t, dropped)
	c.send("lost\n")
	require.Equal(t, "lost\n", receive(t, s.lines))
	receive(t, dropped)
	c.expectReset()
	bystander.send("mine\n")
	bystander.expect("re mine\n")
	connected(t, p)
}

func TestDropNextReplyTakesTheNextRequestWhenTheFirstConnectionEnds(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	p := start(t, s.ln.Addr().String())
	c := connected(t, p)
	dropped := p.DropNextReply()
	c.send("a line without an end has no answer")
	require.NoError(t, c.Close())
	require.ErrorIs(t, receive(t, s.ends), io.EOF)
	require.Eventually(t, func() bool { return p.Connections() == 0 }, guard, time.Millisecond)
	requireNothing(t, dropped)

	other := dial(t, p)
	other.send("two\n")
	receive(t, dropped)
	other.expectReset()
}

func TestDropNextReplyIsOfTheConnectionThatAsked(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, ln.Close()) }()
	p := start(t, ln.Addr().String())
	accepted := func() (*client, net.Conn) {
		c := dial(t, p)
		server, err := ln.Accept()
		require.NoError(t, err)
		t.Cleanup(func() { _ = server.Close() })
		return c, server
	}
	asking, its := accepted()
	bystander, other := accepted()

	dropped := p.DropNextReply()
	pass(t, asking, its, []byte("request"))
	pass(t, other, bystander, []byte("reply to somebody else"))
	requireNothing(t, dropped)
	_, err = its.Write([]byte("reply"))
	require.NoError(t, err)
	receive(t, dropped)
	asking.expectReset()
	pass(t, bystander, other, []byte("goes on"))
}

func TestHealCallsOffADropThatIsPending(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	p := start(t, s.ln.Addr().String())
	dropped := p.DropNextReply()
	p.Heal()
	receive(t, dropped)
	connected(t, p)
}

func TestCloseEndsConnectionsInEveryState(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	for _, fault := range []func(*netfault.Proxy){
		func(*netfault.Proxy) {},
		(*netfault.Proxy).Blackhole,
		(*netfault.Proxy).HalfOpen,
		(*netfault.Proxy).Forget,
		func(p *netfault.Proxy) { p.Rate(1) },
		func(p *netfault.Proxy) { p.Delay(time.Hour) },
	} {
		p := start(t, s.ln.Addr().String())
		c := connected(t, p)
		fault(p)
		hung := dial(t, p)
		dropped := p.DropNextReply()
		c.send("x\n")
		require.NoError(t, p.Close())
		require.NoError(t, p.Close(), "Close is idempotent")
		c.expectReset()
		receive(t, dropped)
		receive(t, p.DropNextReply())
		require.NoError(t, hung.SetReadDeadline(time.Now().Add(guard)))
		_, err := hung.r.ReadByte()
		require.Error(t, err)
		require.False(t, errors.Is(err, os.ErrDeadlineExceeded))
		require.Error(t, answer(t, p), "nobody is there, or another has got the port")
	}
}
