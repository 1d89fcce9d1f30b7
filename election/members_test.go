package election_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/conclave-go/conclave/election"
	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/peertest"
	"github.com/conclave-go/conclave/lease"
)

// Faults of clusters with several members.

func TestCandidatesKeepTheirPlacesThroughFaultsOfTheCluster(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithMembers(3))
	k := newContest(t, c, 2)
	o := observe(t.Context(), t, c.Client(t, etcdtest.WithFastReconnect()), k.name)
	o.next(t, "a")
	for what, fault := range map[string]func(){
		"leader move": func() { moveLeader(t, c) },
		"leader loss": func() {
			was, err := c.WaitLeader(guarded(t))
			require.NoError(t, err)
			require.NoError(t, c.Kill(was))
			_, err = c.WaitLeader(guarded(t), was)
			require.NoError(t, err)
			require.NoError(t, c.Restart(guarded(t), was))
		},
		"restart of every member": func() {
			for i := range c.Size() {
				require.NoError(t, c.Stop(guarded(t), i))
				require.NoError(t, c.Restart(guarded(t), i))
			}
		},
	} {
		fault()
		require.NoError(t, k.term.Err(), what)
		require.NoError(t, k.term.Proclaim(guarded(t), what))
		o.next(t, what)
		for _, done := range k.done {
			stillWaits(t, done)
		}
	}
	for i, done := range k.done {
		moveLeader(t, c)
		resign(t, k.term)
		k.term = elected(t, done)
		require.Equal(t, k.events[i].Revision, k.term.Token().Revision(), "its place was kept")
		o.next(t, string(rune('b'+i)))
	}
	resign(t, k.term)
	o.next(t, "")
}

// moveLeader hands etcd's leadership to another member. etcd allows it one election
// timeout, which a busy machine may exceed.
func moveLeader(t *testing.T, c *etcdtest.Cluster) {
	t.Helper()
	eventually(t, func() bool { return c.MoveLeader(t.Context()) == nil }, "another leader")
}

// Campaigns that begin while there is nobody to take them.
func TestCampaignsThatBeginDuringAnOutageSucceedAfterIt(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithMembers(3))
	p, q := newPeer(t, c), newPeer(t, c)
	for i := range 2 {
		require.NoError(t, c.Kill(i))
	}
	first, second := p.campaignSoon(t.Context(), t, "e", "a"), q.campaignSoon(t.Context(), t, "e", "b")
	stillWaits(t, first)
	for i := range 2 {
		_ = c.Restart(guarded(t), i) // the first of them waits for the second
	}
	var term *election.Term
	other := second
	select {
	case o := <-first:
		require.NoError(t, o.err)
		term = o.term
	case o := <-second:
		require.NoError(t, o.err)
		term, other = o.term, first
	case <-time.After(guard):
		require.Fail(t, "nobody is elected")
	}
	resign(t, term)
	next := elected(t, other)
	require.Greater(t, next.Token(), term.Token())
	resign(t, next)
	awaitValues(t, p.Client, "e") // nothing is left of attempts whose outcome was not known
}

// duelTTL has to last until a leader is cut off.
const duelTTL = unhurried

// duel is a leader who will be cut off and a candidate who will succeed.
type duel struct {
	leader *peer
	term   *election.Term
	next   <-chan verdict
}

// verdict is the outcome of the candidate's campaign, and what the leader knew when it was there.
type verdict struct {
	outcome
	ended error
}

func newDuel(t *testing.T, c *etcdtest.Cluster, name string, opts ...peertest.Option) *duel {
	t.Helper()
	next := newPeer(t, c, withTTL(calm))
	d := &duel{leader: newPeer(t, c, append(opts, withTTL(duelTTL))...)}
	d.term = d.leader.lead(t, name, "a")
	done, _ := next.queueUp(t.Context(), t, name, "b")
	verdicts := make(chan verdict, 1)
	go func() {
		o := <-done
		verdicts <- verdict{o, d.term.Err()}
	}()
	d.next = verdicts
	return d
}

// settle requires that the leader was told before its successor was elected.
func (d *duel) settle(t *testing.T) {
	t.Helper()
	o := await(t, d.next, "the successor is elected")
	require.NoError(t, o.err)
	require.Error(t, o.ended, "the leader was not told before")
	lost(t, d.term)
	require.ErrorIs(t, d.term.Err(), lease.ErrLost)
	require.Greater(t, o.term.Token(), d.term.Token())
	resign(t, o.term)
}

func TestALeaderCutOffAloneIsToldBeforeTheNextIsElected(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithMembers(3))
	duels := make(map[string]*duel) // which all last as long as a lease does: they do so side by side
	for what, cut := range map[string]func(*etcdtest.Net){
		"off": (*etcdtest.Net).Cut, "to the server": (*etcdtest.Net).CutToServer, "to the client": (*etcdtest.Net).CutToClient,
		"half open": (*etcdtest.Net).HalfOpen, "refused": (*etcdtest.Net).Refuse,
	} {
		duels[what] = newDuel(t, c, what)
		cut(duels[what].leader.Net)
	}
	for _, d := range duels {
		d.settle(t)
	}
}

func TestALeaderCutOffWithAMinorityIsToldBeforeTheNextIsElected(t *testing.T) {
	t.Parallel()
	for what, leads := range map[string]bool{"with the etcd leader": true, "with a follower": false} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			c := etcdtest.New(t, etcdtest.WithMembers(3))
			member, err := c.WaitLeader(guarded(t))
			require.NoError(t, err)
			if !leads {
				member = (member + 1) % c.Size()
			}
			var duels []*duel
			for _, name := range []string{"e1", "e2", "e3"} {
				duels = append(duels, newDuel(t, c, name, withClient(etcdtest.ViaMember(member))))
			}
			require.NoError(t, c.Isolate(member))
			for _, d := range duels {
				d.settle(t)
			}
			c.HealLinks()
			_, err = c.WaitLeader(guarded(t))
			require.NoError(t, err)
			// Back among the others, they can be elected again. On a busy machine a lease as
			// short as theirs may end before they resign.
			for _, d := range duels {
				eventually(t, func() bool {
					o := <-d.leader.campaignSoon(t.Context(), t, "again", "a")
					return o.err == nil && o.term.Resign(guarded(t)) == nil
				}, "elected again")
			}
		})
	}
}

// What operators use when things are down.
func TestReadsSucceedWhileOneOfThreeMembersHasVanished(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithMembers(3))
	p := newPeer(t, c)
	term := p.lead(t, "e", "a")
	client, net := c.ProxiedClient(t)
	for range 2 * c.Size() { // connected to all of them
		require.Equal(t, "a", current(t, client, "e").Value)
	}
	net.CutMember(0)
	ctx := guarded(t) // one member's silence would last longer
	// Each kind by itself: where two take turns, one of them may always go to the members that are there.
	for range 2 * c.Size() {
		l, err := election.Current(ctx, client, "e")
		require.NoError(t, err)
		require.Equal(t, term.Token(), l.Token)
	}
	for range 2 * c.Size() {
		all, err := election.Candidates(ctx, client, "e")
		require.NoError(t, err)
		require.Len(t, all, 1)
	}
	resign(t, term)
}

func TestReadsOfAMemberThatIsCutOffFromItsPeersGoElsewhere(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithMembers(3))
	leader, err := c.WaitLeader(guarded(t))
	require.NoError(t, err)
	term := newPeer(t, c, withClient(etcdtest.ViaMember(leader))).lead(t, "e", "a")
	var leaderless atomic.Int64 // requests that do not ask for a leader
	client := c.Client(t, etcdtest.WithDialOptions(grpc.WithChainUnaryInterceptor(func(
		ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption,
	) error {
		if md, _ := metadata.FromOutgoingContext(ctx); len(md.Get(rpctypes.MetadataRequireLeaderKey)) == 0 {
			leaderless.Add(1)
		}
		return invoke(ctx, method, req, reply, cc, opts...)
	})))
	require.NoError(t, c.Isolate((leader+1)%3))
	for range 2 * c.Size() {
		require.Equal(t, term.Token(), current(t, client, "e").Token)
		require.Len(t, candidates(t, client, "e"), 1)
	}
	require.Zero(t, leaderless.Load())
	c.HealLinks()
	_, err = c.WaitLeader(guarded(t))
	require.NoError(t, err)
	resign(t, term)
}

func TestObserversOfAMemberThatIsCutOffGoOnElsewhere(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithMembers(3))
	watcher := newPeer(t, c)
	o := observe(t.Context(), t, watcher.Client, "e")
	o.next(t, "")
	watcher.AwaitWatch(t, "", "")
	cut := watchMember(t, c, watcher.Rec)
	term := newPeer(t, c, withClient(etcdtest.ViaMember((cut+1)%c.Size()))).lead(t, "e", "a")
	o.next(t, "a")
	require.NoError(t, c.Isolate(cut))
	_, err := c.WaitLeader(guarded(t), cut)
	require.NoError(t, err)
	require.NoError(t, term.Proclaim(guarded(t), "b"))
	o.next(t, "b")
	require.NotEqual(t, cut, watchMember(t, c, watcher.Rec))
	c.HealLinks()
	resign(t, term)
	o.next(t, "")
}

func TestObserversOfAMemberThatVanishedSilentlyGoOnElsewhere(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithMembers(3))
	p, watcher := newPeer(t, c), newPeer(t, c)
	term := p.lead(t, "e", "a")
	o := observe(t.Context(), t, watcher.Client, "e")
	o.next(t, "a")
	require.NoError(t, term.Proclaim(guarded(t), "b"))
	o.next(t, "b") // its watch works
	watcher.Net.Member(watchMember(t, c, watcher.Rec)).HalfOpen()
	require.NoError(t, term.Proclaim(guarded(t), "c"))
	o.next(t, "c")
	resign(t, term)
	o.next(t, "")
}

// watchMember returns the member that has created the client's latest watch.
func watchMember(t *testing.T, c *etcdtest.Cluster, rec *etcdtest.Recorder) int {
	t.Helper()
	var id uint64
	for _, call := range rec.Calls() {
		if resp, ok := call.Response.(*pb.WatchResponse); ok && resp.Created {
			id = resp.Header.MemberId
		}
	}
	for i := range c.Size() {
		if uint64(c.Etcd(i).Server.MemberID()) == id {
			return i
		}
	}
	require.FailNow(t, "no member has this ID", "%x", id)
	return -1
}
