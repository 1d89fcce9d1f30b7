package watchlab

import (
	"context"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/namespace"

	"github.com/conclave-go/conclave/internal/etcdtest"
)

// The user of all peers where users have to log in.
const (
	user     = "app"
	password = "app-password"
)

// peer is a client with a network of its own.
type peer struct {
	plan   PeerPlan
	client *clientv3.Client
	net    *etcdtest.Net
}

// connect makes a peer, whose line is as planned.
func (l *lab) connect(plan PeerPlan) (*peer, error) {
	net, err := l.cluster.NewNet()
	if err != nil {
		return nil, err
	}
	opts := []etcdtest.ClientOption{
		etcdtest.ViaNet(net), etcdtest.WithFastReconnect(),
		etcdtest.WithConfig(func(c *clientv3.Config) { c.MaxCallRecvMsgSize = plan.Limit }),
	}
	if l.plan.TokenTTL > 0 {
		opts = append(opts, etcdtest.WithUser(user, password))
	}
	client, err := l.cluster.NewClient(opts...)
	if err != nil {
		_ = net.Close() // always nil
		return nil, err
	}
	if plan.Inside {
		client.KV = namespace.NewKV(client.KV, root)
		client.Watcher = namespace.NewWatcher(client.Watcher, root)
	}
	p := &peer{plan: plan, client: client, net: net}
	p.heal()
	return p, nil
}

// scope is a range as the peer sees it.
func (p *peer) scope(r Range) scope {
	s := scope{key: root, prefix: r != One}
	if p.plan.Inside {
		s = scope{space: root, prefix: r != One}
	}
	s.key += map[Range]string{Part: narrow, One: single, Quiet: quiet}[r]
	return s
}

// stranger lets a watch of clientv3's live on the peer's client, and after it another.
func (l *lab) stranger(ctx context.Context, p *peer, plan ForeignPlan) {
	for ctx.Err() == nil {
		life, cancel := context.WithTimeout(ctx, plan.Lives)
		if plan.Leader {
			life = clientv3.WithRequireLeader(life)
		}
		l.foreignWatch(life, p, plan)
		cancel()
		pause(ctx, plan.Lives/10)
	}
}

// foreignWatch ends with ctx, or with the watch.
func (l *lab) foreignWatch(ctx context.Context, p *peer, plan ForeignPlan) {
	s := p.scope(All)
	opts := []clientv3.OpOption{clientv3.WithRange(clientv3.GetPrefixRangeEnd(root)), clientv3.WithCreatedNotify()}
	if p.plan.Inside {
		opts = []clientv3.OpOption{clientv3.WithFromKey(), clientv3.WithCreatedNotify()}
	}
	switch plan.From {
	case Past:
		opts = append(opts, clientv3.WithRev(max(l.truth.revision()-30, 1)))
	case Future:
		opts = append(opts, clientv3.WithRev(l.truth.revision()+100_000))
	case Now:
	}
	for set, opt := range map[*bool]clientv3.OpOption{
		&plan.Fragment: clientv3.WithFragment(), &plan.PrevKV: clientv3.WithPrevKV(), &plan.Progress: clientv3.WithProgressNotify(),
	} {
		if *set {
			opts = append(opts, opt)
		}
	}
	responses := p.client.Watch(ctx, s.key, opts...)
	ticker := time.NewTicker(max(plan.Ask, time.Millisecond))
	defer ticker.Stop()
	var ask <-chan time.Time // not before the watch is created: asking would open a gRPC stream
	for {
		select {
		case resp, ok := <-responses:
			if !ok || resp.Err() != nil {
				pause(ctx, plan.Lives/10)
				return
			}
			if plan.Ask > 0 {
				ask = ticker.C
			}
		case <-ask:
			_ = p.client.RequestProgress(ctx) // whatever comes of it
		}
	}
}
