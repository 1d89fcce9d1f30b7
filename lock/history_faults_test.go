package lock_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/lock"
)

// hunt breaks the network of one worker after the other just as it has got a lock.
func (r *historyRun) hunt(ctx context.Context, random *rand.Rand) {
	for pause(ctx, between(random, 0, 300*time.Millisecond)) {
		select {
		case p := <-r.prey:
			// Seldom shorter than what a lease of one second may last.
			r.cut(ctx, random, p.net, between(random, 1200*time.Millisecond, longestFault))
			p.done()
		case <-ctx.Done():
		}
	}
}

// breakNetworks breaks the network of anybody.
func (r *historyRun) breakNetworks(ctx context.Context, random *rand.Rand) {
	for pause(ctx, between(random, 0, 600*time.Millisecond)) {
		r.cut(ctx, random, r.workers[random.IntN(len(r.workers))].net, between(random, 0, longestFault))
	}
}

// cut lets a network do something wrong and then nothing at all for the given time, or
// only one of these.
func (r *historyRun) cut(ctx context.Context, random *rand.Rand, net *etcdtest.Net, length time.Duration) {
	defer net.Heal()
	what := random.IntN(4)
	if what < 2 {
		r.h.count("disturbed")
		r.breakNetwork(net, random)
		pause(ctx, between(random, 0, 500*time.Millisecond))
		net.Heal()
		pause(ctx, between(random, 0, 20*time.Millisecond)) // for what was held up
	}
	if what > 0 {
		r.h.count("cut")
		how := []func(){net.Cut, net.Cut, net.Cut, net.CutToServer, net.CutToClient}
		how[random.IntN(len(how))]()
		pause(ctx, length)
	}
}

func (r *historyRun) breakNetwork(net *etcdtest.Net, random *rand.Rand) {
	switch random.IntN(9) {
	case 0:
		net.CutToServer()
	case 1, 2:
		net.CutToClient() // what it hears after the heal is old
	case 3:
		net.Refuse()
	case 4:
		net.Reset()
	case 5:
		net.HalfOpen()
	case 6, 7:
		net.Delay(between(random, time.Millisecond, 100*time.Millisecond))
	default:
		net.CutMember(random.IntN(r.cluster.Size()))
	}
}

// breakMembers troubles one member after the other, never two at once.
func (r *historyRun) breakMembers(ctx context.Context, random *rand.Rand) {
	for pause(ctx, between(random, 200*time.Millisecond, time.Second)) {
		if err := r.breakMember(ctx, random); err != nil {
			r.h.count("member fault failed")
		}
	}
}

func (r *historyRun) breakMember(ctx context.Context, random *rand.Rand) error {
	c, i := r.cluster, random.IntN(r.cluster.Size())
	if leader := c.Leader(); leader >= 0 && random.IntN(2) == 0 {
		i = leader
	}
	down := between(random, 0, time.Second)
	what := []string{"killed", "stopped", "isolated", "leader moved", "compacted"}[random.IntN(5)]
	r.h.count(what)
	limited := guarded(r.t)
	switch what {
	case "killed":
		if err := c.Kill(i); err != nil {
			return err
		}
		pause(ctx, down)
		return c.Restart(limited, i)
	case "stopped":
		if err := c.Stop(limited, i); err != nil {
			return err
		}
		pause(ctx, down)
		return c.Restart(limited, i)
	case "isolated":
		defer c.HealLinks()
		err := c.Isolate(i)
		pause(ctx, down)
		return err
	case "leader moved":
		return c.MoveLeader(ctx)
	default:
		return c.Compact(ctx)
	}
}

// interfere is an operator who revokes leases and deletes keys of holders and
// waiters.
func (r *historyRun) interfere(ctx context.Context, random *rand.Rand) {
	for pause(ctx, between(random, 300*time.Millisecond, 2*time.Second)) {
		limited, cancel := context.WithTimeout(ctx, time.Second)
		r.interfereOnce(limited, random)
		cancel()
	}
}

func (r *historyRun) interfereOnce(ctx context.Context, random *rand.Rand) {
	entries, err := lock.Inspect(ctx, r.operator, r.names[random.IntN(len(r.names))])
	if err != nil || len(entries) == 0 {
		return
	}
	e := entries[random.IntN(len(entries))]
	x := tampering{from: r.h.now()}
	if random.IntN(2) == 0 {
		x.lease = e.Lease
		r.h.addTampering(x)
		r.h.count("revoked")
		_, err = r.operator.Revoke(ctx, e.Lease)
	} else {
		x.key, x.token = e.Key, e.Token
		r.h.addTampering(x)
		r.h.count("deleted")
		same := clientv3.Compare(clientv3.CreateRevision(e.Key), "=", e.Token.Revision())
		_, err = r.operator.Txn(ctx).If(same).Then(clientv3.OpDelete(e.Key)).Commit()
	}
	if err != nil {
		r.h.count(fmt.Sprintf("operator failed: %v", err))
	}
}
