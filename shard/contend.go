package shard

import (
	"context"
	"encoding/json"
	"errors"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// contest begins to contend for the member's name, if the plan is for another process and the
// member does not do so already.
func (m *Member) contest() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.contending && m.displaced() {
		m.contending = true
		m.work.Go(m.contend)
	}
}

// displaced reports whether the plan is for another process of the member's name. That may be
// one that was there before, or that a backup has brought back. mu must be held.
func (m *Member) displaced() bool {
	by, ok := m.plan.member(m.name)
	return ok && by.Nonce != m.entry.Nonce && m.err == nil && !m.closed
}

// contend finds out whether the other process is alive, as Join would: then it has replaced this
// one. If not, its key goes with its lease, the registration puts the member's own again, and
// the plan will be for this process.
func (m *Member) contend() {
	var other suspect
	for m.contends() {
		pause := m.ttl / 3 // nothing may be wrong but that the plan is old
		if kv, there := m.rival(); there {
			pause = lookEvery
			if alive, err := other.alive(m.life, m.session.Client(), kv); err == nil && alive {
				m.retire()
				return
			}
		}
		if !sleep(m.life, pause) {
			return
		}
	}
}

// contends reports whether the member has still to contend for its name.
func (m *Member) contends() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.contending = m.displaced()
	return m.contending
}

// rival returns the key of the member if another process has put it. If that cannot be found
// out, it is not known of any.
func (m *Member) rival() (kv *mvccpb.KeyValue, there bool) {
	resp, err := request(m.life, m.session.Client(), func(ctx context.Context) (*clientv3.GetResponse, error) {
		return m.session.Client().Get(ctx, m.keys.member(m.name))
	})
	if err != nil || len(resp.Kvs) == 0 {
		return nil, false
	}
	var by memberRecord
	err = json.Unmarshal(resp.Kvs[0].Value, &by)
	return resp.Kvs[0], err == nil && by.Nonce != m.entry.Nonce
}

// replaced reports whether another process is known to have replaced this one.
func (m *Member) replaced() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return errors.Is(m.err, ErrReplaced)
}

// retire ends what the member does, since another process is the member by now.
func (m *Member) retire() {
	m.mu.Lock()
	known := m.err != nil
	if !known {
		m.err = ErrReplaced
	}
	m.hasty = true
	for _, c := range m.claims {
		c.drop()
	}
	m.signal()
	m.mu.Unlock()
	m.wake()
	m.withdrawn()
	if known {
		return
	}
	m.log.Error("shard: another process has joined under the member's name; this one owns nothing any more, and has to be closed")
	ctx, cancel := context.WithTimeout(m.life, tryTimeout)
	defer cancel()
	_ = m.reg.Close(ctx) // the key is the other's
}
