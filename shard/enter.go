package shard

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/lease"
)

// memberRecord is the value of a member's key.
type memberRecord struct {
	// Nonce tells the members apart that have had one name.
	Nonce    string `json:"nonce"`
	Weight   int    `json:"weight"`
	Zone     string `json:"zone,omitempty"`
	Value    string `json:"value,omitempty"`
	Draining bool   `json:"draining,omitempty"`
	// Stuck are shards that it does not own though its functions run, see [MemberStatus].
	Stuck  []ID      `json:"stuck,omitempty"`
	Joined time.Time `json:"joined"`
}

func (r memberRecord) encode() string {
	v, _ := json.Marshal(r) // strings, numbers and a time always encode
	return string(v)
}

// agree returns the group's number of shards, which is n if it is a new one. n may be 0.
func agree(ctx context.Context, client *clientv3.Client, k keys, n int) (int, error) {
	first := n
	if first == 0 {
		first = DefaultShards
	}
	resp, err := request(ctx, client, func(ctx context.Context) (*clientv3.TxnResponse, error) {
		return client.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(k.shards()), "=", 0)).
			Then(clientv3.OpPut(k.shards(), strconv.Itoa(first))).
			Else(clientv3.OpGet(k.shards())).Commit()
	})
	if err != nil || resp.Succeeded {
		return first, err
	}
	have, err := shardsIn(string(resp.Responses[0].GetResponseRange().Kvs[0].Value))
	if err == nil && n != 0 && n != have {
		err = &ShardsError{Group: k.group, Want: n, Have: have}
	}
	return have, err
}

// lookEvery is how often Join looks whether the member that has its name is alive, or the
// session has another lease.
const lookEvery = 200 * time.Millisecond

// enter registers the member. The first put is its own, since a registration takes over
// what the same session has put.
func (m *Member) enter(ctx context.Context) (*lease.Registration, error) {
	m.entry = memberRecord{
		Nonce: rand.Text(), Weight: m.cfg.weight, Zone: m.cfg.zone, Value: m.cfg.value, Joined: time.Now().UTC(),
	}
	e := &entrance{Member: m}
	defer func() {
		if e.announced != 0 {
			m.withdraw(ctx, m.keys.heir(m.name), m.entry.Nonce)
		}
	}()
	for {
		reg, err := e.try(ctx)
		if err == nil {
			return reg, nil
		}
		if !passing(err) || !sleep(ctx, lookEvery) {
			if e.perhaps {
				e.withdraw(ctx, m.keys.member(m.name), m.entry.encode())
			}
			return nil, explain(ctx, err)
		}
	}
}

// entrance is a member's way into its group.
type entrance struct {
	*Member

	other suspect
	// announced is the lease under which the planner was told that somebody waits for the
	// name, 0 if it was not.
	announced clientv3.LeaseID
	// perhaps is set if the member's key may have been put.
	perhaps bool
}

var (
	errNameTaken = errors.New("waiting for the member with that name to be gone")
	errOldLease  = errors.New("an earlier attempt has put the key under another lease")
)

// passing reports whether to try again makes sense: the name will be free, the session will hear
// that its lease is gone and have another, or what an earlier attempt left has been removed.
func passing(err error) bool {
	_, taken := errors.AsType[*lease.TakenError](err) // since the first put
	return taken || errors.Is(err, errNameTaken) || errors.Is(err, errOldLease) || errors.Is(err, rpctypes.ErrLeaseNotFound)
}

// explain adds why it was not tried again, if that is because ctx has ended.
func explain(ctx context.Context, err error) error {
	if why := context.Cause(ctx); why != nil && !errors.Is(err, why) {
		return fmt.Errorf("%w: %w", err, why)
	}
	return err
}

// try registers the member unless its name is taken.
func (e *entrance) try(ctx context.Context) (*lease.Registration, error) {
	l, err := e.session.Lease(ctx)
	if err != nil {
		return nil, err
	}
	e.ttl, e.perhaps = l.TTL(), true
	key := e.keys.member(e.name)
	found, taken, err := e.put(ctx, l)
	switch {
	case err != nil:
		return nil, err
	case taken:
		e.perhaps = false
		return nil, e.yield(ctx, l, found)
	case found != nil && found.Lease != int64(l.ID()): // which goes when that lease does
		e.withdraw(ctx, key, e.entry.encode(), clientv3.Compare(clientv3.CreateRevision(key), "=", found.CreateRevision))
		return nil, errOldLease
	}
	reg, err := lease.Register(ctx, e.session, key, e.entry.encode())
	if other, is := errors.AsType[*lease.TakenError](err); is && other.Value == e.entry.encode() {
		// It was put under a lease that has just ended.
		e.withdraw(ctx, key, other.Value, clientv3.Compare(clientv3.LeaseValue(key), "=", other.Lease))
	}
	return reg, err
}

// yield returns a [*MemberError] if the member that has the name is alive, and otherwise that it
// has to be waited for, and has the planner know.
func (e *entrance) yield(ctx context.Context, l *lease.Lease, to *mvccpb.KeyValue) error {
	alive, err := e.other.alive(ctx, e.session.Client(), to)
	switch {
	case err != nil:
		return err
	case alive:
		return &MemberError{Group: e.keys.group, Member: e.name, Lease: clientv3.LeaseID(to.Lease)}
	}
	if e.announced != l.ID() {
		e.announced = l.ID()
		if err := e.announce(ctx, l); err != nil {
			return err
		}
	}
	return errNameTaken
}

// announce tells the planner that there is somebody to be the member, who is to find its shards
// where they are.
func (m *Member) announce(ctx context.Context, l *lease.Lease) error {
	_, err := request(ctx, m.session.Client(), func(ctx context.Context) (*clientv3.PutResponse, error) {
		return m.session.Client().Put(ctx, m.keys.heir(m.name), m.entry.Nonce, clientv3.WithLease(l.ID()))
	})
	return err
}

// put puts the member's key. If there is one it returns that, and whether it is another's: it
// may also be what an earlier attempt has put.
func (m *Member) put(ctx context.Context, l *lease.Lease) (found *mvccpb.KeyValue, taken bool, err error) {
	key := m.keys.member(m.name)
	members := clientv3.OpGet(m.keys.member(""), clientv3.WithPrefix(), clientv3.WithCountOnly())
	resp, err := request(ctx, m.session.Client(), func(ctx context.Context) (*clientv3.TxnResponse, error) {
		return m.session.Client().Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0)).
			Then(members, clientv3.OpPut(key, m.entry.encode(), clientv3.WithLease(l.ID()))).
			Else(members, clientv3.OpGet(key)).Commit()
	})
	if err != nil {
		return nil, false, err
	}
	if !resp.Succeeded {
		found = resp.Responses[1].GetResponseRange().Kvs[0]
		if string(found.Value) != m.entry.encode() {
			return found, true, nil
		}
	}
	if resp.Responses[0].GetResponseRange().Count >= MaxMembers {
		err = m.fits(ctx)
	}
	return found, false, err
}

// fits returns [ErrFull] if there were too many members when this one's key was put. Others that
// come at the same time find the same.
func (m *Member) fits(ctx context.Context) error {
	resp, err := request(ctx, m.session.Client(), func(ctx context.Context) (*clientv3.GetResponse, error) {
		return m.session.Client().Get(ctx, m.keys.member(""), clientv3.WithPrefix(), clientv3.WithKeysOnly(),
			clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend))
	})
	if err != nil {
		return err
	}
	before := 0
	for _, kv := range resp.Kvs {
		switch what, name, _ := m.keys.parse(string(kv.Key)); {
		case what != kindMember: // of a group whose name lies below this one's
		case name == m.name:
			return nil
		default:
			if before++; before == MaxMembers {
				return ErrFull
			}
		}
	}
	return nil
}

// withdraw removes a key that the member has put, while conds hold, or the end of the lease does.
func (m *Member) withdraw(ctx context.Context, key, value string, conds ...clientv3.Cmp) {
	ctx, release := whileOpen(context.WithoutCancel(ctx), m.session.Client())
	defer release()
	ctx, cancel := context.WithTimeout(ctx, lease.DefaultGrace)
	defer cancel()
	_, err := m.session.Client().Txn(ctx).If(append(conds, clientv3.Compare(clientv3.Value(key), "=", value))...).
		Then(clientv3.OpDelete(key)).Commit()
	if err != nil {
		m.log.Warn("shard: registration may be left until the session ends", "key", key, "error", err)
	}
}

// suspect is a member that has the name which another wants.
type suspect struct {
	created int64
	left    int64     // of its lease's TTL in seconds, when last looked
	until   time.Time // when it is gone if it is dead
	renewed int       // how often its lease was
}

const (
	// manyRenewals are more than one of the server's own: a change of etcd's leader begins
	// the TTL of all leases anew, also of the dead.
	manyRenewals = 3
	// expiry is how long etcd may take to remove what has expired.
	expiry = 2 * time.Second
)

// alive reports whether the member whose key is kv is alive: its lease was renewed, again
// and again, or it outlasts it.
func (s *suspect) alive(ctx context.Context, client *clientv3.Client, kv *mvccpb.KeyValue) (bool, error) {
	if kv.Lease == 0 {
		return true, nil // an operator's doing
	}
	ttl, err := request(ctx, client, func(ctx context.Context) (*clientv3.LeaseTimeToLiveResponse, error) {
		return client.TimeToLive(ctx, clientv3.LeaseID(kv.Lease))
	})
	if err != nil {
		return false, err
	}
	switch {
	case s.created != kv.CreateRevision:
		*s = suspect{created: kv.CreateRevision}
	case ttl.TTL > s.left:
		s.renewed++
	default:
		s.left = ttl.TTL
		return time.Now().After(s.until), nil
	}
	s.left, s.until = ttl.TTL, time.Now().Add(time.Duration(ttl.TTL)*time.Second+expiry)
	return s.renewed >= manyRenewals, nil
}
