package lease_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/inside"
	"github.com/conclave-go/conclave/internal/suite"
	"github.com/conclave-go/conclave/lease"
)

// partitions is how many clients are cut off, at different phases of their rounds: each way in
// which a network parts has its share.
func partitions() int { return suite.Long(10, 20) }

// cuts are the ways in which a network parts.
var cuts = []func(*etcdtest.Net){
	(*etcdtest.Net).Cut,
	(*etcdtest.Net).CutToServer,
	(*etcdtest.Net).CutToClient,
	(*etcdtest.Net).HalfOpen,
	(*etcdtest.Net).Refuse,
}

// stranded is somebody whose key must be gone from his own point of view before it is
// gone on the server, which is when another can take it.
type stranded struct {
	net  *etcdtest.Net
	over func() bool
	// events are the key's from before it was put: a busy machine may lose a
	// lease without our help.
	events <-chan *clientv3.Event
}

// overWhenGone cuts it off and reports whether it knew of its end when an
// independent client heard of the key's deletion.
func (h stranded) overWhenGone(cut func(*etcdtest.Net), after time.Duration) bool {
	timer := time.NewTimer(after)
	defer timer.Stop()
	<-timer.C
	cut(h.net)
	timer.Reset(guard)
	for {
		select {
		case e := <-h.events:
			if e.Type != clientv3.EventTypeDelete {
				continue
			}
			return h.over()
		case <-timer.C:
			return false
		}
	}
}

// The official session is put through the same partitions: that it is late at times, which is
// left to chance, shows that they are of the kind that tells.
func TestAPartitionedClientKnowsOfItsLossBeforeItsSuccessorCan(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	op := newOperator(t, c)
	ttl := max(c.MinTTL(t), 3*time.Second) // with one a busy machine loses leases
	prefix := c.Prefix(t)

	var ours, official []stranded
	for range partitions() {
		client, net := c.ProxiedClient(t, etcdtest.WithFastReconnect())
		s := newSession(t, client, lease.WithTTL(ttl))
		l := liveLease(t, s)
		key := prefix + "ours/" + net.Endpoints()[0]
		events := op.watch(t, key)
		_, err := lease.Register(guarded(t), s, key, "v")
		require.NoError(t, err)
		ours = append(ours, stranded{net, func() bool { return l.Err() != nil }, events})

		client, net = c.ProxiedClient(t, etcdtest.WithFastReconnect())
		theirs, err := concurrency.NewSession(client, concurrency.WithTTL(int(ttl/time.Second)))
		require.NoError(t, err)
		t.Cleanup(theirs.Orphan)
		key = prefix + "official/" + net.Endpoints()[0]
		events = op.watch(t, key)
		op.put(t, key, "v", clientv3.WithLease(theirs.Lease()))
		official = append(official, stranded{net, func() bool {
			select {
			case <-theirs.Done():
				return true
			default:
				return false
			}
		}, events})
	}

	late := func(all []stranded) (n int) {
		var mu sync.Mutex
		var wg sync.WaitGroup
		for i, h := range all {
			after := time.Duration(rand.Int64N(int64(ttl / 2)))
			wg.Go(func() {
				if !h.overWhenGone(cuts[i%len(cuts)], after) {
					mu.Lock()
					defer mu.Unlock()
					n++
				}
			})
		}
		wg.Wait()
		return n
	}
	var lateOfficial int
	var wg sync.WaitGroup
	wg.Go(func() { lateOfficial = late(official) })
	lateOurs := late(ours)
	wg.Wait()
	t.Logf("told after their key was gone: %d of %d here, %d with concurrency.Session", lateOurs, partitions(), lateOfficial)
	require.Zero(t, lateOurs)
	for _, h := range ours {
		h.net.Heal()
	}
	for _, h := range official {
		h.net.Heal()
	}
}

func TestAPartitionShorterThanTheDeadlineIsSurvived(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	for i, cut := range cuts {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			client, net := c.ProxiedClient(t, etcdtest.WithFastReconnect())
			p := newPulse()
			l := newLease(t, client, lease.WithTTL(12*time.Second), p.observe(), p.listen())
			cut(net)
			inside.Keys(l).Hurry()
			require.Equal(t, lease.Suspended, await(t, p.states, "the state"))
			require.NoError(t, l.Err())
			net.Heal()
			require.Equal(t, lease.Healthy, await(t, p.states, "the state"))
			require.Empty(t, p.lost)
		})
	}
}
