package lease_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"github.com/conclave-go/conclave/internal/suite"
	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lease"
)

// partition is one way in which a client is cut off while it holds a lease, drawn from a seed.
type partition struct {
	seed  uint64
	ttl   time.Duration
	way   string
	cut   func(*vtime.Cut)
	phase time.Duration // of the client's start, relative to the server's tick
	age   time.Duration // of the lease when the cut comes
	lasts time.Duration
	drag  time.Duration // the most that one message takes
}

func (p partition) String() string {
	return fmt.Sprintf("seed %d: TTL %v, cut %s for %v after %v, messages take up to %v", p.seed, p.ttl, p.way, p.lasts, p.age, p.drag)
}

func drawPartition(seed uint64) partition {
	draw := rand.New(rand.NewPCG(seed, 2))
	upTo := func(d time.Duration) time.Duration { return time.Duration(draw.Int64N(int64(d))) }
	ttls := []time.Duration{time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second}
	ways := []struct {
		name string
		cut  func(*vtime.Cut)
	}{
		{"off", (*vtime.Cut).Cut},
		{"to the server", (*vtime.Cut).CutToServer},
		{"to the client", (*vtime.Cut).CutToClient},
		{"off, held", (*vtime.Cut).Hold},
		{"to the server, held", (*vtime.Cut).HoldToServer},
		{"to the client, held", (*vtime.Cut).HoldToClient},
	}
	ttl, way := ttls[seed%uint64(len(ttls))], ways[seed%uint64(len(ways))]
	return partition{
		seed: seed, ttl: ttl, way: way.name, cut: way.cut,
		phase: upTo(serverTick), age: upTo(3 * ttl), lasts: upTo(2 * ttl), drag: upTo(ttl / 25),
	}
}

// aftermath is what became of a lease in a partition, in virtual time. Times are zero for what did not happen.
type aftermath struct {
	cut     time.Time
	ended   time.Time // the client's side was told
	deleted time.Time // the server removed the lease's key
	// early says that the client's side had been told when the deletion was seen.
	early bool
}

// holder is a lease under test: ours, or the official session's.
type holder struct {
	id    clientv3.LeaseID
	done  <-chan struct{}
	close func(ctx context.Context) error
}

// run cuts off the holder that begin makes, while a client that is not cut off watches a key of its lease.
func (p partition) run(t *testing.T, begin func(t *testing.T, client *clientv3.Client) holder) (a aftermath) {
	t.Helper()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		vtime.Sleep(p.phase)
		client, cut := s.CutClient(vtime.WithDrag(vtime.NewDrag(p.seed, p.drag)))
		h := begin(t, client)
		witness := s.Client()
		_, err := witness.Put(t.Context(), "key", "", clientv3.WithLease(h.id))
		require.NoError(t, err)
		events := witness.Watch(anHour(t), "key", clientv3.WithFilterPut(), clientv3.WithCreatedNotify())
		require.True(t, (<-events).Created)
		go func() {
			if resp := <-events; len(resp.Events) > 0 {
				a.deleted = time.Now()
				select {
				case <-h.done:
					a.early = true
				default:
				}
			}
		}()
		go func() {
			<-h.done
			a.ended = time.Now()
		}()

		vtime.Sleep(p.age)
		a.cut = time.Now()
		p.cut(cut)
		vtime.Advance(p.lasts)
		cut.Heal()
		vtime.Advance(2*p.ttl + 5*time.Second)
		survived := a.ended.IsZero()
		require.Equal(t, survived, a.deleted.IsZero(), p)
		require.NoError(t, h.close(t.Context()))
		synctest.Wait()
		require.False(t, a.ended.IsZero(), p)
		require.False(t, a.deleted.IsZero(), p)
		if survived {
			a.ended, a.deleted = time.Time{}, time.Time{}
		}
	})
	return a
}

func TestNoLeaseOutlivesItsServersInTwoHundredPartitions(t *testing.T) {
	t.Parallel()
	partitions := suite.Long(30, 200) // 30 have every way with every TTL
	survived, closest, slowest, soonest := 0, time.Hour, 0.0, 1.0
	for seed := range uint64(partitions) {
		p := drawPartition(seed)
		a := p.run(t, func(t *testing.T, client *clientv3.Client) holder {
			t.Helper()
			l, err := lease.Grant(t.Context(), client, lease.WithTTL(p.ttl))
			require.NoError(t, err)
			return holder{l.ID(), l.Context().Done(), l.Close}
		})
		if a.ended.IsZero() {
			survived++
			continue
		}
		require.True(t, a.early, "%v: the key was gone while the lease was thought valid", p)
		require.False(t, a.ended.After(a.deleted), "%v: ended at %v, deleted at %v", p, a.ended, a.deleted)
		require.Greater(t, p.lasts+10*p.drag, p.ttl/3, "%v: a shorter partition costs nobody a lease", p)
		require.LessOrEqual(t, a.ended.Sub(a.cut), p.ttl, "%v: the loss is noticed within the TTL", p)
		require.LessOrEqual(t, a.deleted.Sub(a.cut), p.ttl+time.Second, "%v: the server is rid of it within the TTL and a second", p)
		closest = min(closest, a.deleted.Sub(a.ended))
		slowest = max(slowest, float64(a.deleted.Sub(a.cut)-p.ttl)/float64(time.Second))
		soonest = min(soonest, float64(p.lasts)/float64(p.ttl))
	}
	t.Logf("%d of %d leases survived; the others ended %v or more before the server's end, which came at most %.2f s after cut + TTL; "+
		"the shortest partition that cost a lease took %.2f of its TTL", survived, partitions, closest, slowest, soonest)
	require.Greater(t, survived, partitions/10, "some partitions are short")
	require.Less(t, survived, partitions/2)
}

// The same partitions, the same latencies, the official session: it reports its loss, in many of them, when the server
// has already let others in.
func TestTheOfficialSessionIsLateInMany(t *testing.T) {
	t.Parallel()
	partitions := suite.Long(30, 60)
	lost, late, latest := 0, 0, time.Duration(0)
	for seed := range uint64(partitions) {
		p := drawPartition(seed)
		a := p.run(t, func(t *testing.T, client *clientv3.Client) holder {
			t.Helper()
			s, err := concurrency.NewSession(client, concurrency.WithTTL(int(p.ttl/time.Second)))
			require.NoError(t, err)
			return holder{s.Lease(), s.Done(), func(context.Context) error {
				_ = s.Close() // fails if the lease is gone
				return nil
			}}
		})
		if a.ended.IsZero() {
			continue
		}
		lost++
		if !a.early {
			late++
			latest = max(latest, a.ended.Sub(a.deleted))
		}
	}
	t.Logf("%d of %d official sessions that lost their lease were late to say so, by up to %v", late, lost, latest)
	require.Greater(t, late, lost/5)
}
