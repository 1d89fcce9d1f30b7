package election_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/election"
	"github.com/conclave-go/conclave/internal/etcdtest"
)

// These tests count requests. What the package documents as cost is what they say.

// tally is what a client has sent.
type tally struct {
	writes  int // transactions that may write
	local   int // reads answered by one member
	quorum  int // linearizable reads
	watches int
	other   int // anything else but the cancellation of watches
}

func sent(rec *etcdtest.Recorder) tally {
	var n tally
	for _, c := range rec.Calls() {
		txn, isTxn := c.Request.(*pb.TxnRequest)
		_, isRange := c.Request.(*pb.RangeRequest)
		switch {
		case c.Stream && c.Request == nil, c.Method == "WatchCancel":
		case c.IsWatchCreate():
			n.watches++
		case isTxn && c.IsWrite():
			n.writes++
		case isTxn && txn.Success[0].GetRequestRange().GetSerializable():
			n.local++
		case isTxn, isRange:
			n.quorum++
		default:
			n.other++
		}
	}
	return n
}

// cost returns what a client sends for what do does.
func cost(rec *etcdtest.Recorder, do func()) tally {
	rec.Reset()
	do()
	return sent(rec)
}

func TestLeadingWithoutRivalsCostsOneWriteForEachStep(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, p := c.Prefix(t)+"e", newPeer(t, c)
	for range 3 {
		var term *election.Term
		require.Equal(t, tally{writes: 1}, cost(p.Rec, func() { term = p.lead(t, name, "a") }))
		require.Equal(t, tally{writes: 1}, cost(p.Rec, func() { require.NoError(t, term.Proclaim(guarded(t), "b")) }))
		require.Equal(t, tally{writes: 1}, cost(p.Rec, func() {
			_, err := term.Txn(guarded(t)).Then(clientv3.OpPut(name+"/data", "x")).Commit()
			require.NoError(t, err)
		}))
		require.Equal(t, tally{writes: 1}, cost(p.Rec, func() { resign(t, term) }))
		require.Equal(t, tally{}, cost(p.Rec, func() {
			resign(t, term)
			require.Error(t, term.Proclaim(guarded(t), "c"))
			_, err := term.Txn(guarded(t)).Commit()
			require.Error(t, err)
		}), "what has ended sends nothing")
	}
	require.Equal(t, tally{writes: 2}, cost(p.Rec, func() {
		require.NoError(t, p.election(t, name).Run(guarded(t), "a", func(context.Context, *election.Term) error { return nil }))
	}))
}

func TestCurrentAndCandidatesCostOneReadEach(t *testing.T) {
	t.Parallel()
	k := newContest(t, etcdtest.New(t), 2)
	for what, do := range map[string]func(){
		"Current":    func() { current(t, k.leader.Client, k.name) },
		"Candidates": func() { candidates(t, k.leader.Client, k.name) },
	} {
		// What is late is asked again.
		eventually(t, func() bool { return cost(k.leader.Rec, do) == tally{quorum: 1} }, "%s is one read", what)
	}
	resign(t, k.term)
	resign(t, elected(t, k.done[0]))
	resign(t, elected(t, k.done[1]))
}

func TestAHandOverCostsOneWriteAndWakesOneCandidate(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	k := newContest(t, c, 8)
	for _, p := range k.peers {
		// The idle watch that keeps the stream open as well, so that the count below
		// is of what comes after.
		eventually(t, func() bool { return created(p.Rec) == 2 }, "the idle watch")
		p.Rec.Reset()
	}
	require.Equal(t, tally{writes: 1}, cost(k.leader.Rec, func() { resign(t, k.term) }))
	term := elected(t, k.done[0])
	require.Equal(t, tally{}, sent(k.peers[0].Rec), "an event is enough")
	require.Equal(t, tally{}, sent(k.peers[1].Rec), "the third is told, and has nothing to do")
	for _, p := range k.peers[2:] {
		require.Empty(t, p.Rec.Calls(), "neither a request nor an event")
	}
	for _, done := range k.done[1:] {
		resign(t, term)
		term = elected(t, done)
	}
	resign(t, term)
}

// created counts the watches that the server has created for a client.
func created(rec *etcdtest.Recorder) (n int) {
	for _, c := range rec.Calls() {
		if resp, ok := c.Response.(*pb.WatchResponse); ok && resp.Created {
			n++
		}
	}
	return n
}

func TestATransferCostsOneReadAndOneWrite(t *testing.T) {
	t.Parallel()
	k := newContest(t, etcdtest.New(t), 3)
	to := k.candidate(t, 1)
	began := time.Now()
	spent := cost(k.leader.Rec, func() { require.NoError(t, k.term.Transfer(guarded(t), to)) })
	if time.Since(began) > time.Second { // what is late is asked again
		spent.quorum = min(spent.quorum, 1)
	}
	require.Equal(t, tally{writes: 1, quorum: 1}, spent)
	resign(t, elected(t, k.done[1]))
	resign(t, elected(t, k.done[2]))
	resign(t, elected(t, k.done[0]))
}

// An observer is sent every arrival and departure: one event each, of a key and a
// value, whatever the number of candidates.
func TestAnObserverIsSentOneEventForEachArrivalAndDeparture(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, p := c.Prefix(t)+"e", newPeer(t, c)
	var rec etcdtest.Recorder
	client := c.Client(t, etcdtest.WithRecorder(&rec))
	term := p.lead(t, name, "a")
	o := observe(t.Context(), t, client, name)
	o.next(t, "a")
	require.NoError(t, term.Proclaim(guarded(t), "b"))
	o.next(t, "b")
	rec.Reset()
	const arrivals = 50
	for range arrivals {
		ctx, cancel := context.WithCancel(guarded(t))
		done, _ := p.queueUp(ctx, t, name, "candidate")
		cancel()
		require.Error(t, await(t, done, "it leaves").err)
		awaitValues(t, p.Client, name, "b")
	}
	require.NoError(t, term.Proclaim(guarded(t), "c"))
	o.next(t, "c")
	events, bytes := 0, 0
	for _, call := range rec.Calls() {
		if resp, ok := call.Response.(*pb.WatchResponse); ok {
			events += len(resp.Events)
			for _, ev := range resp.Events {
				bytes += len(ev.Kv.Key) + len(ev.Kv.Value)
			}
		}
	}
	t.Logf("%d bytes for each candidate that came and went", bytes/arrivals)
	require.Equal(t, 2*arrivals+1, events)
	require.Zero(t, sent(&rec).quorum+sent(&rec).watches)
	resign(t, term)
}
