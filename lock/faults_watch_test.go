package lock_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/conclave-go/conclave/internal/etcdtest"
)

func TestWaiterKeepsItsPlaceThroughReconnects(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	for what, fault := range map[string]func(p *peer, release func()){
		"reset": func(p *peer, release func()) {
			p.Net.Reset()
			release()
		},
		"released while disconnected": func(p *peer, release func()) {
			p.Net.Refuse()
			release()
			p.Net.Heal()
		},
		"released during a partition": func(p *peer, release func()) {
			p.Net.Cut()
			release()
			p.Net.Heal()
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			name := c.Prefix(t) + "m"
			holder, p := newPeer(t, c), newPeer(t, c)
			h := holder.lock(t, name)
			done, e := p.queueUp(guarded(t), t, name)
			fault(p, func() { unlock(t, h) })
			next := granted(t, done)
			require.Equal(t, e.Revision, next.Token().Revision())
			unlock(t, next)
		})
	}
}

func TestWaiterKeepsItsPlaceThroughCompaction(t *testing.T) {
	t.Parallel()
	for _, released := range []bool{false, true} {
		c := etcdtest.New(t, etcdtest.WithControl())
		operator := c.Client(t)
		holder, p := newPeer(t, c, withTTL(calm)), newPeer(t, c, withTTL(calm))
		h := holder.lock(t, "m")
		done, e := p.queueUp(guarded(t), t, "m")
		// Its watch has to go on from a revision that is no more.
		p.Net.Refuse()
		if released {
			unlock(t, h)
		}
		put(t, operator, "k", "1")
		put(t, operator, "k", "2")
		require.NoError(t, c.Compact(guarded(t)))
		p.Net.Heal()
		eventually(t, func() bool { return compacted(p.Rec) }, "the watch fails")
		if !released {
			unlock(t, h)
		}
		next := granted(t, done)
		require.Equal(t, e.Revision, next.Token().Revision())
		unlock(t, next)
	}
}

func compacted(rec *etcdtest.Recorder) bool {
	for _, c := range rec.Calls() {
		if resp, ok := c.Response.(*pb.WatchResponse); ok && resp.CompactRevision != 0 {
			return true
		}
	}
	return false
}

func TestPredecessorGoneWithoutAnEventIsFoundByTheLook(t *testing.T) {
	t.Parallel()
	// Nobody else may write, or the waiter reads as its watch begins, and that may be
	// what finds the predecessor gone.
	c, name := etcdtest.New(t, etcdtest.WithControl()), "m"
	holder, p := newPeer(t, c), newPeer(t, c, withTTL(unhurried))
	h := holder.lock(t, name)
	done, e := p.queueUp(guarded(t), t, name)
	p.Rec.HookStream(func(method string, d etcdtest.Direction, msg any) (bool, error) {
		resp, ok := msg.(*pb.WatchResponse)
		return ok && d == etcdtest.Recv && len(resp.Events) > 0, nil
	})
	streams := p.Rec.Count("WatchStream")
	unlock(t, h)
	next := granted(t, done)
	require.Equal(t, e.Revision, next.Token().Revision())

	// The stream that kept quiet is not used again.
	done, _ = p.queueUp(guarded(t), t, name)
	require.Greater(t, p.Rec.Count("WatchStream"), streams)
	unlock(t, next)
	unlock(t, granted(t, done))
}

func TestWatchThatIsNeverCreatedIsOpenedAnew(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name := c.Prefix(t) + "m"
	holder, p := newPeer(t, c), newPeer(t, c, withTTL(unhurried))
	h := holder.lock(t, name)
	swallowed := make(chan struct{}, 100)
	p.Rec.HookStream(func(_ string, d etcdtest.Direction, msg any) (bool, error) {
		req, ok := msg.(*pb.WatchRequest)
		if !ok || d != etcdtest.Send || req.GetCreateRequest() == nil || len(swallowed) > 0 {
			return false, nil
		}
		swallowed <- struct{}{}
		return true, nil
	})
	done, e := p.queueUp(guarded(t), t, name) // until another is
	require.Len(t, swallowed, 1)
	unlock(t, h)
	next := granted(t, done)
	require.Equal(t, e.Revision, next.Token().Revision())
	unlock(t, next)
}
