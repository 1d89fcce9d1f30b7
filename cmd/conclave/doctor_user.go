package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/authpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
)

// user is who is logged in, and what that one may do.
type user struct {
	Name        string       `json:"name,omitempty"`
	Auth        bool         `json:"auth_enabled"`
	Root        bool         `json:"root,omitempty"`
	Permissions []permission `json:"permissions,omitempty"`
}

// permission is one that a role gives.
type permission struct {
	Role string `json:"role"`
	Type string `json:"type"` // read, write, readwrite
	Keys string `json:"keys"` // for people

	from, to string // to is empty for no end
}

// user looks up what this user may do.
func (d *diagnosis) user(ctx context.Context, client *clientv3.Client, name string, patience time.Duration) {
	d.User = &user{Name: name}
	err := within(ctx, patience, func(ctx context.Context) error { return d.User.look(ctx, client) })
	switch {
	case err != nil:
		d.find(note, "user", "", "what %q may do cannot be looked up: %v", name, err)
	case !d.User.Auth:
		d.find(note, "user", "turn on authentication where not everybody who reaches etcd may take every lock", "authentication is off: everybody may do everything")
	case name == "":
		d.find(note, "user", "name one with --user", "authentication is on, and there is no --user to look up")
	case d.User.Root:
		d.find(note, "user", "use one with a role for its prefix alone", "%q is root: it may do everything", name)
	default:
		d.permissions(name)
	}
}

func (u *user) look(ctx context.Context, client *clientv3.Client) error {
	status, err := client.AuthStatus(ctx)
	switch {
	case err == nil:
		u.Auth = status.Enabled
	case refused(err): // only root may ask
		u.Auth = true
	case grpcCode(err) == codes.Unimplemented: // before 3.5
		u.Auth = u.Name != ""
	default:
		return err
	}
	if !u.Auth || u.Name == "" {
		return nil
	}
	known, err := client.UserGet(ctx, u.Name)
	if err != nil {
		return err
	}
	for _, role := range known.Roles {
		u.Root = u.Root || role == "root"
		found, err := client.RoleGet(ctx, role)
		if err != nil {
			return err
		}
		for _, p := range found.Perm {
			u.Permissions = append(u.Permissions, permissionOf(role, p))
		}
	}
	return nil
}

func permissionOf(role string, p *authpb.Permission) permission {
	out := permission{Role: role, Type: strings.ToLower(p.PermType.String()), from: string(p.Key), to: string(p.RangeEnd)}
	switch {
	case len(p.RangeEnd) == 0:
		out.Keys, out.to = fmt.Sprintf("%q", p.Key), out.from+"\x00"
	case out.to == "\x00":
		out.Keys, out.to = fmt.Sprintf("from %q", p.Key), ""
	case clientv3.GetPrefixRangeEnd(out.from) == out.to:
		out.Keys = fmt.Sprintf("prefix %q", p.Key)
	default:
		out.Keys = fmt.Sprintf("%q to %q", p.Key, p.RangeEnd)
	}
	return out
}

// permissions says what the user may do, and whether that is enough for the prefix.
func (d *diagnosis) permissions(name string) {
	var all []string
	for _, p := range d.User.Permissions {
		all = append(all, p.Type+" "+p.Keys)
	}
	d.find(note, "user", "", "%q may: %s", name, cmp.Or(strings.Join(all, ", "), "nothing"))
	if d.prefix == "" {
		return
	}
	var missing []string
	for _, what := range []string{"read", "write"} {
		if !d.User.may(what, d.prefix, clientv3.GetPrefixRangeEnd(d.prefix)) {
			missing = append(missing, what)
		}
	}
	if len(missing) > 0 {
		d.find(problem, "user", fmt.Sprintf("etcdctl role grant-permission ROLE readwrite --prefix %s", d.prefix),
			"%q may not %s everything below %q", name, strings.Join(missing, " and "), d.prefix)
		return
	}
	d.find(good, "user", "", "%q may read and write everything below %q", name, d.prefix)
}

// may reports whether permissions together cover a range of keys.
func (u *user) may(what, from, to string) bool {
	ranges := slices.Clone(u.Permissions)
	slices.SortFunc(ranges, func(a, b permission) int { return cmp.Compare(a.from, b.from) })
	for _, p := range ranges {
		if p.from > from || !strings.Contains(p.Type, what) {
			continue
		}
		if p.to == "" {
			return true
		}
		from = max(from, p.to)
	}
	return to != "\x00" && from >= to
}
