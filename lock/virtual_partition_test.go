package lock_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"github.com/conclave-go/conclave/internal/peertest"
	"github.com/conclave-go/conclave/internal/suite"
	"github.com/conclave-go/conclave/internal/vtime"
)

// partition cuts off the holder of a lock, in virtual time.
type partition struct{ peertest.Partition }

// handover is what became of the lock in a partition.
type handover struct {
	cut     time.Time
	ended   time.Time // the holder was told
	granted time.Time // the waiter was
	// overlap says that the waiter was granted before the holder was told.
	overlap bool
}

// acquire waits for a lock and returns what is closed when the hold ends.
type acquire func(ctx context.Context) (done <-chan struct{}, err error)

// run cuts off the holder of a lock for which another client waits.
func (p partition) run(t *testing.T, join func(t *testing.T, client *clientv3.Client) acquire) (h handover) {
	t.Helper()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*p.TTL)
		defer cancel()
		vtime.Sleep(p.Phase)
		client, cut := s.CutClient(vtime.WithDrag(vtime.NewDrag(p.Seed, p.Drag)))
		held, err := join(t, client)(ctx)
		require.NoError(t, err)
		vtime.Sleep(p.Age)
		wait := join(t, s.Client(vtime.WithDrag(vtime.NewDrag(p.Seed+1, mostDrag))))

		told, granted := make(chan time.Time, 1), make(chan time.Time, 1)
		go func() {
			<-held
			told <- time.Now()
		}()
		go func() {
			_, err := wait(ctx)
			select {
			case <-held:
			default:
				h.overlap = true
			}
			if err == nil {
				granted <- time.Now()
			}
		}()
		vtime.Sleep(10*mostDrag + p.Queued)
		require.Empty(t, granted)
		require.Empty(t, told)
		h.cut = time.Now()
		p.Way.Cut(cut)
		time.AfterFunc(p.Lasts, cut.Heal)
		for range 2 {
			select {
			case h.ended = <-told:
			case h.granted = <-granted:
			case <-ctx.Done():
				require.Fail(t, "the waiter was not granted, or the holder not told", p)
			}
		}
	})
	return h
}

// allWays is the number of partitions in which each TTL meets each way of being cut off.
const allWays = uint64(30)

func TestNoTwoHoldersInTwoHundredPartitions(t *testing.T) {
	t.Parallel()
	partitions := suite.Long(allWays, 200)
	var gaps, waits []time.Duration // from the holder's end, and from cut + TTL, to the grant
	for seed := range partitions {
		p := partition{peertest.DrawPartition(seed)}
		h := p.run(t, func(t *testing.T, client *clientv3.Client) acquire {
			t.Helper()
			m := newVirtualMutex(t, client, p.TTL)
			return func(ctx context.Context) (<-chan struct{}, error) {
				hold, err := m.Lock(ctx)
				if err != nil {
					return nil, err
				}
				return hold.Context().Done(), nil
			}
		})
		require.False(t, h.overlap, "%v: granted while the hold was thought valid", p)
		require.False(t, h.ended.After(h.granted), "%v: ended at %v, granted at %v", p, h.ended, h.granted)
		require.LessOrEqual(t, h.granted.Sub(h.cut), p.TTL+time.Second, "%v: guarantee L", p)
		gaps = append(gaps, h.granted.Sub(h.ended))
		waits = append(waits, h.granted.Sub(h.cut)-p.TTL)
	}
	slices.Sort(gaps)
	slices.Sort(waits)
	t.Logf("0 of %d partitions with two holders; from the holder's end to the next grant %v to %v, median %v; "+
		"grants at cut + TTL %+v to %+v, median %+v", partitions, gaps[0], gaps[partitions-1], gaps[partitions/2],
		waits[0], waits[partitions-1], waits[partitions/2])
}

// The same partitions and latencies with the official mutex and session.
func TestTheOfficialMutexHasTwoHoldersInMany(t *testing.T) {
	t.Parallel()
	partitions := suite.Long(allWays, 60)
	overlaps, longest := uint64(0), time.Duration(0)
	for seed := range partitions {
		p := partition{peertest.DrawPartition(seed)}
		h := p.run(t, func(t *testing.T, client *clientv3.Client) acquire {
			t.Helper()
			session, err := concurrency.NewSession(client, concurrency.WithTTL(int(p.TTL/time.Second)))
			require.NoError(t, err)
			return func(ctx context.Context) (<-chan struct{}, error) {
				return session.Done(), concurrency.NewMutex(session, "lock").Lock(ctx)
			}
		})
		if h.overlap {
			overlaps++
			longest = max(longest, h.ended.Sub(h.granted))
		}
	}
	t.Logf("two holders after %d of %d partitions, for up to %v", overlaps, partitions, longest)
	require.Greater(t, overlaps, partitions/5)
}

func TestTheFirstLiveWaiterIsGrantedInTimeBehindAQueueOfTheDead(t *testing.T) {
	t.Parallel()
	const ttl = 10 * time.Second
	var waits []time.Duration
	for seed := range suite.Long(uint64(8), 20) {
		draw := rand.New(rand.NewPCG(seed, 2))
		vtime.Run(t, func(t *testing.T, s *vtime.Server) {
			var cuts []*vtime.Cut
			for i := range 4 {
				client, cut := s.CutClient(vtime.WithDrag(vtime.NewDrag(10*seed+uint64(i), mostDrag)))
				lockSoonVirtually(t, newVirtualMutex(t, client, ttl))
				vtime.Advance(10 * mostDrag)
				cuts = append(cuts, cut)
			}
			live := lockSoonVirtually(t, newVirtualMutex(t, s.Client(vtime.WithDrag(vtime.NewDrag(10*seed+9, mostDrag))), ttl))
			vtime.Advance(10 * mostDrag)
			requireEntries(t, s, 5)
			draw.Shuffle(len(cuts), func(i, j int) { cuts[i], cuts[j] = cuts[j], cuts[i] })
			for _, cut := range cuts {
				vtime.Sleep(time.Duration(draw.Int64N(int64(ttl / 2))))
				cut.Cut()
			}
			died := time.Now()
			require.NoError(t, (<-live).err)
			waits = append(waits, time.Since(died))
		})
	}
	slices.Sort(waits)
	t.Logf("granted %v to %v after the last death, median %v; TTL %v", waits[0], waits[len(waits)-1], waits[len(waits)/2], ttl)
	require.LessOrEqual(t, waits[len(waits)-1], ttl+time.Second)
}
