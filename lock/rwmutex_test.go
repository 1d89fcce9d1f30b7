package lock_test

import (
	"context"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/suite"
	"github.com/conclave-go/conclave/lock"
)

func TestConstructorsOfTheFamilyRefuseBadInput(t *testing.T) {
	t.Parallel()
	p := newPeer(t, etcdtest.New(t), withTTL(calm))
	p.Rec.Reset()
	constructors := map[string]func(name string, opts ...lock.Option) error{
		"rwmutex": func(name string, opts ...lock.Option) error {
			_, err := lock.NewRWMutex(p.Session, name, opts...)
			return err
		},
		"semaphore": func(name string, opts ...lock.Option) error {
			_, err := lock.NewSemaphore(p.Session, name, 3, opts...)
			return err
		},
		"multi": func(name string, opts ...lock.Option) error {
			_, err := lock.NewMulti(p.Session, []string{"fine", name}, opts...)
			return err
		},
	}
	for kind, construct := range constructors {
		for _, bad := range []struct {
			name string
			opts []lock.Option
			want string
		}{
			{"", nil, "name is empty: must be at least one byte"},
			{strings.Repeat("x", lock.MaxName+1), nil, "name of 1025 bytes: must be at most 1024"},
			{"a/", nil, "must not end with a slash"},
			{"a/~b", nil, `segment "~b" is reserved`},
			{"a", []lock.Option{nil}, "option is nil: must come from one of the With functions"},
			{"a", []lock.Option{lock.WithOwner("\xff")}, "must be valid UTF-8"},
			{"a", []lock.Option{lock.WithEtcdLayout()}, "option WithEtcdLayout given to a " + kind + ": it is for a mutex only"},
		} {
			err := construct(bad.name, bad.opts...)
			require.ErrorContains(t, err, bad.want, kind)
			require.ErrorContains(t, err, "lock: ", kind)
		}
		require.NoError(t, construct("a", lock.WithOwner("me")))
	}
	_, err := lock.NewRWMutex(nil, "a")
	require.ErrorContains(t, err, "session is nil")
	_, err = lock.NewSemaphore(nil, "a", 1)
	require.ErrorContains(t, err, "session is nil")
	_, err = lock.NewMulti(nil, []string{"a"})
	require.ErrorContains(t, err, "session is nil")
	require.Empty(t, p.Rec.Calls(), "no request is made")
}

func TestReadersShareAndWritersExclude(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, q, name := newPeer(t, c, withTTL(calm)), newPeer(t, c, withTTL(calm)), c.Prefix(t)+"m"
	readers := []*lock.Hold{p.take(t, reading, name), p.take(t, reading, name), q.take(t, reading, name)}
	tokens := map[lock.Token]bool{}
	for _, h := range readers {
		require.NoError(t, h.Err())
		tokens[h.Token()] = true
	}
	require.Len(t, tokens, 3)
	writer, _ := q.queueUpTo(guarded(t), t, writing, name)
	for _, h := range readers {
		stillWaits(t, writer)
		unlock(t, h)
	}
	h := granted(t, writer)
	_, err := p.rwMutex(t, name).TryRLock(guarded(t))
	require.ErrorIs(t, err, lock.ErrLocked)
	unlock(t, h)
}

func TestNobodyOvertakesAnEarlierWriter(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	peers, name := newPeers(t, c, 3, withTTL(calm)), c.Prefix(t)+"m"
	// Who comes, and with whom each is granted.
	ways := []how{reading, reading, writing, reading, reading, writing, writing, reading}
	groups := []int{0, 0, 1, 2, 2, 3, 4, 5}
	h := peers[0].take(t, writing, name)
	var outcomes []<-chan outcome
	for i, how := range ways {
		done, _ := peers[i%len(peers)].queueUpTo(guarded(t), t, how, name)
		outcomes = append(outcomes, done)
	}
	holds := []*lock.Hold{h}
	for group := range 6 {
		for _, h := range holds {
			for _, done := range outcomes {
				stillWaits(t, done)
			}
			unlock(t, h)
		}
		holds = nil
		for len(groups) > 0 && groups[0] == group {
			holds = append(holds, granted(t, outcomes[0]))
			outcomes, groups = outcomes[1:], groups[1:]
		}
	}
	require.Empty(t, outcomes)
	unlock(t, holds[0])
}

func TestWritersAreGrantedUnderAStreamOfReaders(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	peers, name := newPeers(t, c, 4, withTTL(calm)), c.Prefix(t)+"m"
	ctx, stop := context.WithCancel(guarded(t))
	defer stop()
	var stream sync.WaitGroup
	var reads atomic.Int64
	for _, p := range peers {
		m := p.rwMutex(t, name)
		for range 3 { // some hold it at any time
			stream.Go(func() {
				for ctx.Err() == nil {
					err := m.RDo(ctx, func(context.Context, *lock.Hold) error {
						reads.Add(1)
						pause(ctx, aBit/10)
						return nil
					})
					if err != nil && ctx.Err() == nil {
						t.Error(err)
						return
					}
				}
			})
		}
	}
	eventually(t, func() bool { return reads.Load() > 20 }, "readers")
	writer := newPeer(t, c, withTTL(calm))
	for range 10 {
		h := writer.take(t, writing, name)
		for _, e := range queueOf(t, writer.Client, name) {
			require.Equal(t, e.Token == h.Token(), e.Held())
		}
		so := reads.Load()
		unlock(t, h)
		eventually(t, func() bool { return reads.Load() > so }, "readers, who do not starve either")
	}
	stop()
	stream.Wait()
	awaitQueue(t, writer.Client, name, 0)
}

// shared is a section that readers share, and which knows whether a writer was in it
// with anybody.
type shared struct {
	t       *testing.T
	readers atomic.Int64
	writers atomic.Int64
	most    atomic.Int64 // readers at a time
}

func (s *shared) read() {
	n := s.readers.Add(1)
	for most := s.most.Load(); n > most && !s.most.CompareAndSwap(most, n); most = s.most.Load() {
	}
	if s.writers.Load() > 0 {
		s.t.Error("a reader came in while a writer was inside")
	}
	pause(s.t.Context(), aBit/50)
	s.readers.Add(-1)
}

func (s *shared) write() {
	if s.writers.Add(1) > 1 || s.readers.Load() > 0 {
		s.t.Error("a writer came in while another, or a reader, was inside")
	}
	pause(s.t.Context(), aBit/50)
	s.writers.Add(-1)
}

func TestReadersAndWritersUnderContentionNeverMeet(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	peers, name := newPeers(t, c, 3, withTTL(calm)), c.Prefix(t)+"m"
	s := &shared{t: t}
	var wg sync.WaitGroup
	for i := range 12 {
		m := peers[i%len(peers)].rwMutex(t, name)
		random := rand.New(rand.NewPCG(uint64(i), 1))
		wg.Go(func() {
			for range suite.Long(8, 25) {
				if err := visitShared(guarded(t), m, s, random.IntN(6)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	require.Greater(t, s.most.Load(), int64(1), "readers did share it")
	awaitQueue(t, peers[0].Client, name, 0)
}

// visitShared reads mostly, writes sometimes, and sometimes writes and then reads.
func visitShared(ctx context.Context, m *lock.RWMutex, s *shared, dice int) error {
	inside := func(fn func()) func(context.Context, *lock.Hold) error {
		return func(_ context.Context, h *lock.Hold) error {
			fn()
			return h.Err()
		}
	}
	switch dice {
	case 0:
		return m.Do(ctx, inside(s.write))
	case 1:
		return m.Do(ctx, func(within context.Context, h *lock.Hold) error {
			s.write()
			read, err := m.Downgrade(within, h)
			if err != nil {
				return err
			}
			s.read()
			return read.Unlock(ctx) // within has ended with h
		})
	default:
		return m.RDo(ctx, inside(s.read))
	}
}
