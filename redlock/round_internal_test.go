package redlock

import (
	"context"
	"errors"
	"net"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// unreachableClaim returns a claim on n nodes, and what counts how often they are dialled.
func unreachableClaim(t *testing.T, n int) (c *claim, dialled *atomic.Int64) {
	t.Helper()
	dialled = new(atomic.Int64)
	var clients []redis.UniversalClient
	for i := range n {
		client := redis.NewClient(&redis.Options{
			Addr: "127.0.0.1:" + strconv.Itoa(i+1), MaxRetries: -1, DialerRetries: 1,
			Dialer: func(context.Context, string, string) (net.Conn, error) {
				dialled.Add(1)
				return nil, errors.New("out of reach")
			},
		})
		t.Cleanup(func() { require.NoError(t, client.Close()) })
		clients = append(clients, client)
	}
	nodes, err := NewNodes(clients)
	require.NoError(t, err)
	m, err := NewMutex(nodes, "job")
	require.NoError(t, err)
	return newClaim(m), dialled
}

func TestALockIsLostOnceThereAreTooFewOtherNodesForAQuorum(t *testing.T) {
	t.Parallel()
	for nodes, most := range map[int]int{1: 0, 3: 1, 4: 1, 5: 2, 6: 2, 7: 3} { // denials with which there may be one
		for denials := range nodes + 1 {
			for missing := range denials + 1 {
				others := tally{missing: missing, locked: denials - missing, pending: nodes - denials}
				require.Equal(t, denials > most, lost(others, nodes/2+1), "%d of %d", denials, nodes)
			}
		}
	}
}

// Whoever has waited for the decision reads the answers without a lock.
func TestAnAnswerAfterTheDecisionChangesNothing(t *testing.T) {
	t.Parallel()
	c, _ := unreachableClaim(t, 3)
	r := newRound(t.Context(), c, task{op: opAcquire, judge: judgeAcquire}, time.Minute)
	defer r.cancel()
	r.answer(0, answer{state: NodeGranted})
	require.False(t, r.isDecided())
	r.answer(1, answer{state: NodeGranted})
	require.True(t, r.isDecided())
	require.NotPanics(t, func() { r.answer(2, answer{state: NodeLocked}) })
	require.Equal(t, tally{granted: 2, pending: 1}, r.tally())
}

// The release comes when the extension has been launched, and none of its calls has begun.
func TestAnExtensionThatWasNotSentBeforeTheReleaseIsNotSentAfterIt(t *testing.T) {
	t.Parallel()
	c, dialled := unreachableClaim(t, 1)
	r := newRound(t.Context(), c, task{op: opExtend, judge: judgeExtend, urgent: true}, time.Minute)
	defer r.cancel()
	require.Nil(t, c.enter(r))
	c.over = true
	require.ErrorIs(t, c.extendAt(r, 0).err, errGivenUp)
	require.Zero(t, dialled.Load())
}
