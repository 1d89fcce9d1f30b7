package shard

import (
	"context"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// evacuated is the value of a wish that a member be emptied.
const evacuated = "evacuate"

// Move pins a shard to a member: the planner gives it to that one, whatever the shares, and
// however the others are balanced. It stays pinned, while the member is there, until it is
// moved again; with "" for the member, the choice is the planner's again. Move returns when
// the wish is written. It is refused if there is no such group, shard or member.
func Move(ctx context.Context, client *clientv3.Client, group string, id ID, member string) error {
	k := keys{group}
	if member == "" {
		return wish(ctx, client, k, nil, clientv3.OpDelete(k.pin(id)))
	}
	if err := checkMember(member); err != nil {
		return err
	}
	shards, err := groupShards(ctx, client, k)
	if err != nil {
		return err
	}
	if int(id) >= shards {
		return fmt.Errorf("shard: group %q has no shard %d: must be below %d", group, id, shards)
	}
	there := clientv3.Compare(clientv3.CreateRevision(k.member(member)), ">", 0)
	err = wish(ctx, client, k, []clientv3.Cmp{there}, clientv3.OpPut(k.pin(id), member))
	if errors.Is(err, errNoGroup) {
		return fmt.Errorf("shard: group %q has no member %q", group, member)
	}
	return err
}

// Cordon keeps a member from being given more shards, unless no other member can take them.
// The member keeps those that it has. This also applies to whoever joins under the name,
// until [Uncordon].
func Cordon(ctx context.Context, client *clientv3.Client, group, member string) error {
	return cordon(ctx, client, group, member, "cordon")
}

// Evacuate gives all shards of a member to others, if there are any, and cordons it, see
// [Cordon].
func Evacuate(ctx context.Context, client *clientv3.Client, group, member string) error {
	return cordon(ctx, client, group, member, evacuated)
}

func cordon(ctx context.Context, client *clientv3.Client, group, member, how string) error {
	if err := checkMember(member); err != nil {
		return err
	}
	k := keys{group}
	return wish(ctx, client, k, nil, clientv3.OpPut(k.cordon(member), how))
}

// Uncordon undoes [Cordon] and [Evacuate].
func Uncordon(ctx context.Context, client *clientv3.Client, group, member string) error {
	if err := checkMember(member); err != nil {
		return err
	}
	k := keys{group}
	return wish(ctx, client, k, nil, clientv3.OpDelete(k.cordon(member)))
}

// Freeze keeps all shards where they are: new members get none, and shares are not evened
// out. Only shards without a live owner, or whose owner leaves, are still given to others,
// and shards moved by hand still move. It lasts until [Thaw].
func Freeze(ctx context.Context, client *clientv3.Client, group string) error {
	k := keys{group}
	return wish(ctx, client, k, nil, clientv3.OpPut(k.freeze(), "freeze"))
}

// Thaw undoes [Freeze].
func Thaw(ctx context.Context, client *clientv3.Client, group string) error {
	k := keys{group}
	return wish(ctx, client, k, nil, clientv3.OpDelete(k.freeze()))
}

// errNoGroup says that a wish was for a group that does not exist.
var errNoGroup = errors.New("shard: there is no such group: nobody has joined it")

// wish writes what an operator wants, if the group exists and conds hold.
func wish(ctx context.Context, client *clientv3.Client, k keys, conds []clientv3.Cmp, op clientv3.Op) error {
	if err := checkClient(ctx, client); err != nil {
		return err
	}
	conds = append(conds, clientv3.Compare(clientv3.CreateRevision(k.shards()), ">", 0))
	resp, err := request(ctx, client, func(ctx context.Context) (*clientv3.TxnResponse, error) {
		return client.Txn(ctx).If(conds...).Then(op).Commit()
	})
	switch {
	case err != nil:
		return fmt.Errorf("shard: writing a wish for %q: %w", k.group, err)
	case !resp.Succeeded:
		return fmt.Errorf("%w (group %q)", errNoGroup, k.group)
	}
	return nil
}

// groupShards returns how many shards a group has.
func groupShards(ctx context.Context, client *clientv3.Client, k keys) (int, error) {
	if err := checkClient(ctx, client); err != nil {
		return 0, err
	}
	resp, err := request(ctx, client, func(ctx context.Context) (*clientv3.GetResponse, error) { return client.Get(ctx, k.shards()) })
	switch {
	case err != nil:
		return 0, fmt.Errorf("shard: reading group %q: %w", k.group, err)
	case len(resp.Kvs) == 0:
		return 0, fmt.Errorf("%w (group %q)", errNoGroup, k.group)
	}
	return shardsIn(string(resp.Kvs[0].Value))
}

func checkClient(ctx context.Context, client *clientv3.Client) error {
	if ctx == nil {
		return errNilContext
	}
	if client == nil {
		return errors.New("shard: client is nil: must be a connected *clientv3.Client")
	}
	return nil
}
