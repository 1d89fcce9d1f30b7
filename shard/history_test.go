package shard_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/conclave-go/conclave/internal/suite"
	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/shard"
)

// history is a fleet to which things happen, drawn from a seed.
type history struct {
	*fleet
	*rand.Rand

	members map[string]*peer
	told    []string
}

// names are those that members have.
var names = []string{"a", "b", "c", "d"}

// one returns the name of somebody who is a member, "" if nobody is.
func (h *history) one() string {
	all := sorted(h.members)
	if len(all) == 0 {
		return ""
	}
	return all[h.IntN(len(all))]
}

func sorted(members map[string]*peer) (all []string) {
	for _, n := range names {
		if members[n] != nil {
			all = append(all, n)
		}
	}
	return all
}

// start has a member join that is none, perhaps one that has crashed.
func (h *history) start() {
	for _, n := range names {
		if h.members[n] != nil {
			continue
		}
		p := h.process()
		h.lossy(p)
		ctx, cancel := context.WithTimeout(h.t.Context(), 2*ttl)
		m, err := shard.Join(ctx, p.session, group, n, h.serve(n), shard.WithShards(h.shards),
			shard.WithMoves(1+h.IntN(5)), small(), shard.WithDrainTimeout(3*time.Second))
		cancel()
		require.NoError(h.t, err, h.told)
		p.Member, h.members[n] = m, p
		return
	}
}

// lossy has one in ten replies to the process's writes be lost.
func (h *history) lossy(p *peer) {
	draw := rand.New(rand.NewPCG(h.Uint64(), 1))
	lose := make(chan bool, 1)
	lose <- true
	p.rec.Hook("Txn", func(_ context.Context, _ any, invoke func() error) error {
		err := invoke()
		<-lose
		lost := draw.IntN(10) == 0
		lose <- true
		if err == nil && lost {
			return status.Error(codes.Unavailable, "reply lost")
		}
		return err
	})
}

// happen has something happen.
func (h *history) happen() {
	n := h.one()
	p := h.members[n]
	what := h.IntN(11)
	h.told = append(h.told, fmt.Sprint(what, n))
	switch {
	case what < 3 || p == nil:
		h.start()
	case what < 4: // it leaves in order
		delete(h.members, n)
		ctx, cancel := context.WithTimeout(h.t.Context(), 10*time.Second)
		defer cancel()
		_ = p.Close(ctx) // replies may be lost
		_ = p.session.Close(ctx)
	case what < 5: // it crashes
		delete(h.members, n)
		p.crashed.Store(true)
		p.cut.Cut()
	case what < 7: // it is cut off for a while
		cut := []func(){p.cut.Cut, p.cut.CutToServer, p.cut.CutToClient, p.cut.Hold}[h.IntN(4)]
		cut()
		time.AfterFunc(time.Duration(h.Int64N(int64(2*ttl))), func() {
			if !p.crashed.Load() {
				p.cut.Heal()
			}
		})
	case what < 8:
		p.cut.Reset()
	case what < 9:
		_, err := h.server.Client().Put(h.t.Context(), "x", "") // else there may be nothing to compact
		require.NoError(h.t, err)
		h.server.Compact(h.t.Context())
	case what < 10: // somebody deletes keys
		h.ledger.overrule()
		prefix := []string{"/plan/", "/member/" + n, fmt.Sprintf("/shard/%d/", h.IntN(h.shards)), "/~election/"}[h.IntN(4)]
		_, err := h.server.Client().Delete(h.t.Context(), group+prefix, clientv3.WithPrefix())
		require.NoError(h.t, err)
	default:
		h.server.Stop()
		vtime.Sleep(time.Duration(h.Int64N(int64(ttl))))
		h.server.Start()
	}
}

func TestWhateverHappensNoShardHasTwoOwnersAndAllHaveOneInTheEnd(t *testing.T) {
	t.Parallel()
	for seed := range uint64(suite.Long(2, 24)) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			vtime.Run(t, func(t *testing.T, s *vtime.Server) {
				h := &history{fleet: newFleet(t, s, 20), Rand: rand.New(rand.NewPCG(seed, 25)), members: map[string]*peer{}}
				h.start()
				for range 25 {
					vtime.Sleep(time.Duration(h.Int64N(int64(ttl / 2))))
					h.happen()
				}
				h.start()
				vtime.Advance(2 * ttl) // those who are cut off are back
				vtime.Advance(2 * ttl)
				owners := h.settled()
				require.NotContains(t, owners, "", h.told)
				status := h.plan()
				require.NoError(t, status.PlanError)
				for _, one := range status.Shards {
					require.Equal(t, []string{owners[one.Shard], owners[one.Shard]}, []string{one.Owner, one.Planned}, h.told)
					require.Empty(t, one.Waiting, h.told)
				}
			})
		})
	}
}
