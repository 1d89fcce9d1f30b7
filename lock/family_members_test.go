package lock_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/suite"
	"github.com/conclave-go/conclave/lock"
)

// room is a section with room for holders of some weight altogether.
type room struct {
	t        *testing.T
	name     string
	capacity int

	mu      sync.Mutex
	inside  map[*lock.Hold]int
	entries int
}

func newRoom(t *testing.T, name string, capacity int) *room {
	t.Helper()
	return &room{t: t, name: name, capacity: capacity, inside: map[*lock.Hold]int{}}
}

// visit enters and leaves.
func (r *room) visit(h *lock.Hold, weight int) {
	r.enter(h, weight)
	pause(r.t.Context(), aBit/50)
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.inside, h)
}

func (r *room) enter(h *lock.Hold, weight int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	sum := weight
	for other, w := range r.inside {
		if other.Err() == nil {
			sum += w
		} else {
			delete(r.inside, other)
		}
	}
	// The order matters: if the newcomer is valid now, so were all of them at once.
	if sum > r.capacity && h.Err() == nil {
		r.t.Errorf("%q: %v came in, which makes %d of %d", r.name, h.Token(), sum, r.capacity)
	}
	r.inside[h] = weight
	r.entries++
}

func (r *room) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.entries
}

// manyReaders is more than there are in any test: what a writer weighs.
const manyReaders = 1000

// visitors are random acquisitions of a kind, with the rooms that they enter.
type visitors struct {
	rooms []*room
	visit func(ctx context.Context, p *peer, random *rand.Rand) error
}

func (v visitors) count() int { return v.rooms[0].count() }

// inRooms is what a holder does.
func inRooms(weight int, rooms ...*room) func(context.Context, *lock.Hold) error {
	return func(_ context.Context, h *lock.Hold) error {
		for _, r := range rooms {
			r.visit(h, weight)
		}
		return nil
	}
}

// newVisitors returns visitors of every kind.
func newVisitors(t *testing.T, prefix string) []visitors {
	t.Helper()
	shared, pool := newRoom(t, prefix+"rw", manyReaders), newRoom(t, prefix+"pool", 5)
	locks := []*room{newRoom(t, prefix+"all", 1), newRoom(t, prefix+"a", 1), newRoom(t, prefix+"b", 1)}
	return []visitors{
		{[]*room{shared}, func(ctx context.Context, p *peer, random *rand.Rand) error {
			m, err := lock.NewRWMutex(p.Session, shared.name)
			if err != nil {
				return err
			}
			switch random.IntN(6) {
			case 0:
				return m.Do(ctx, inRooms(manyReaders, shared))
			case 1:
				return m.Do(ctx, func(_ context.Context, h *lock.Hold) error {
					shared.visit(h, manyReaders)
					read, err := m.Downgrade(ctx, h)
					if err != nil {
						return err
					}
					shared.visit(read, 1)
					return read.Unlock(ctx)
				})
			default:
				return m.RDo(ctx, inRooms(1, shared))
			}
		}},
		{[]*room{pool}, func(ctx context.Context, p *peer, random *rand.Rand) error {
			s, err := lock.NewSemaphore(p.Session, pool.name, pool.capacity)
			if err != nil {
				return err
			}
			n := 1 + random.IntN(pool.capacity)
			return s.Do(ctx, n, inRooms(n, pool))
		}},
		{locks, func(ctx context.Context, p *peer, random *rand.Rand) error {
			if random.IntN(3) == 0 {
				m, err := lock.NewMutex(p.Session, locks[0].name)
				if err != nil {
					return err
				}
				return m.Do(ctx, inRooms(1, locks[0]))
			}
			some := []*room{locks[0], locks[1+random.IntN(2)]}
			m, err := lock.NewMulti(p.Session, []string{some[1].name, some[0].name})
			if err != nil {
				return err
			}
			return m.Do(ctx, inRooms(1, some...))
		}},
	}
}

func TestGoroutinesOfOneSessionExcludeEachOtherInAnyKind(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p := newPeer(t, c, withTTL(calm))
	const goroutines = 6
	var wg sync.WaitGroup
	kinds, visits := newVisitors(t, c.Prefix(t)), suite.Long(4, 10)
	for _, v := range kinds {
		for i := range goroutines {
			random := rand.New(rand.NewPCG(uint64(i), 1))
			wg.Go(func() {
				for range visits {
					if err := v.visit(guarded(t), p, random); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
	}
	wg.Wait()
	for _, v := range kinds {
		require.GreaterOrEqual(t, v.count(), goroutines*visits)
		for _, r := range v.rooms {
			awaitQueue(t, p.Client, r.name, 0)
		}
	}
}

func TestTwentyContendersOfAnyKindGetOnThroughFaultsOfTheCluster(t *testing.T) {
	// Otherwise their kinds go through the same faults one by one, below, and together through random ones, in histories.
	suite.Nightly(t)
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithMembers(3))
	peers, kinds := newPeers(t, c, 20), newVisitors(t, "")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var wg sync.WaitGroup
	for i, p := range peers {
		for j, v := range kinds {
			random := rand.New(rand.NewPCG(uint64(i), uint64(j)))
			wg.Go(func() {
				for ctx.Err() == nil {
					if err := v.visit(ctx, p, random); err != nil && ctx.Err() == nil && !lostAnyhow(err) {
						t.Error(err)
						return
					}
				}
			})
		}
	}
	goOn := func(after string) {
		var goals []int
		for _, v := range kinds {
			goals = append(goals, v.count()+len(peers))
		}
		for i, v := range kinds {
			eventually(t, func() bool { return v.count() >= goals[i] }, "%s goes on after %s", v.rooms[0].name, after)
		}
	}
	goOn("the start")
	for _, fault := range clusterFaults {
		fault.do(t, c, peers)
		goOn(fault.name)
	}
	stop()
	wg.Wait()
	for _, v := range kinds {
		for _, r := range v.rooms {
			awaitQueue(t, c.Client(t), r.name, 0)
		}
	}
}

func TestAnyWaiterKeepsItsPlaceThroughFaultsOfTheCluster(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithMembers(3))
	holder, peers := newPeer(t, c, withTTL(calm)), newPeers(t, c, len(contests), withTTL(calm))
	for _, fault := range clusterFaults {
		var holds []*lock.Hold
		var outcomes []<-chan outcome
		var places []int64
		for i, k := range contests {
			name := fault.name + "/" + k.name
			holds = append(holds, holder.take(t, k.first, name))
			done, e := peers[i].queueUpTo(guarded(t), t, k.next, name)
			outcomes, places = append(outcomes, done), append(places, e.Revision)
		}
		fault.do(t, c, peers)
		for i, k := range contests {
			stillWaits(t, outcomes[i])
			unlock(t, holds[i])
			next := granted(t, outcomes[i])
			require.Equal(t, places[i], next.Token().Revision(), "%s, %s", k.name, fault.name)
			unlock(t, next)
			peers[i].Rec.Reset()
		}
	}
}

func TestAnyWaiterOfAMemberThatVanishedSilentlyIsGranted(t *testing.T) {
	// Otherwise TestWaiterOfAMember... has the silence, and TestAnyWaiterIsGrantedByTheLook... the kinds.
	suite.Nightly(t)
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithMembers(3))
	eachContest(t, contests, func(t *testing.T, k contest) {
		t.Helper()
		name := c.Prefix(t) + "m"
		holder, p := newPeer(t, c), newPeer(t, c, withTTL(vanishing))
		h := holder.take(t, k.first, name)
		done, e := p.queueUpTo(guarded(t), t, k.next, name)
		p.Net.Member(watchMember(t, c, p.Rec)).HalfOpen()
		unlock(t, h)
		p.hurry(t)
		next := granted(t, done)
		require.Equal(t, e.Revision, next.Token().Revision(), "found by the look, before the lease was lost")
		unlock(t, next)
	})
}
