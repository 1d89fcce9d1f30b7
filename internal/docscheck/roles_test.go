package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/election"
	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
	"github.com/conclave-go/conclave/watch"
)

const (
	operations = "../../docs/operations.md"
	// documented is the name that the page's commands are about.
	documented = "billing/invoice"
	guard      = 30 * time.Second
)

// grant is a permission as etcdctl is told of it.
type grant struct {
	mode, key string
	prefix    bool
}

var grantCommand = regexp.MustCompile(`^etcdctl role grant-permission (\w+) (read|write|readwrite) (--prefix )?'([^']+)'$`)

// documentedRoles returns the permissions of each role on the page.
func documentedRoles(t *testing.T) map[string][]grant {
	t.Helper()
	text, err := os.ReadFile(operations)
	require.NoError(t, err)
	roles := map[string][]grant{}
	for _, c := range parse(operations, string(text)).commands() {
		if !strings.HasPrefix(c.text, "etcdctl role ") {
			continue
		}
		m := grantCommand.FindStringSubmatch(c.text)
		require.NotNil(t, m, c.text)
		roles[m[1]] = append(roles[m[1]], grant{mode: m[2], key: m[4], prefix: m[3] != ""})
	}
	return roles
}

// actor is a user who does what a role is for.
type actor struct {
	t       *testing.T
	name    string
	client  *clientv3.Client
	session *lease.Session
	root    *clientv3.Client
}

func TestRolesAreSufficientAndNecessary(t *testing.T) {
	t.Parallel()
	uses := map[string]func(context.Context, *actor) error{
		"app":        lockTwice(mutex()),
		"mutex":      lockTwice(mutex(lock.WithLocalHandoff(1), lock.WithLinger(time.Second))),
		"delayed":    lockTwice(mutex(lock.WithLockDelay(time.Second))),
		"layout":     both(lockTwice(mutex(lock.WithEtcdLayout())), stand(election.WithEtcdLayout())),
		"rwmutex":    useRWMutex,
		"reader":     read,
		"semaphore":  lockTwice(semaphore),
		"listener":   listen,
		"asker":      withHolder(func(ctx context.Context, a *actor) error { return lock.RequestRelease(ctx, a.client, a.name) }),
		"inspector":  withHolder(inspect),
		"candidate":  stand(),
		"observer":   observe,
		"registrant": register,
		"watcher":    follow,
	}
	roles := documentedRoles(t)
	c := etcdtest.New(t, etcdtest.WithControl())
	require.NoError(t, c.EnableAuth(t.Context()))
	for role, grants := range roles {
		use := uses[role]
		require.NotNil(t, use, role)
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			require.NoError(t, play(t, c, role, grants, use))
			for i, g := range grants {
				others := append(append([]grant(nil), grants[:i]...), grants[i+1:]...)
				require.Error(t, play(t, c, role, others, use), "without %s of %s", g.mode, g.key)
				if g.mode == "readwrite" {
					less := append(append([]grant(nil), others...), grant{"read", g.key, g.prefix})
					require.Error(t, play(t, c, role, less, use), "without writing %s", g.key)
				}
			}
		})
	}
	require.Len(t, roles, len(uses))
}

// play makes a user with the given permissions, moved to a name of its own, do something.
func play(t *testing.T, c *etcdtest.Cluster, role string, grants []grant, use func(context.Context, *actor) error) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), guard)
	defer cancel()
	realm := c.Prefix(t)
	root := c.Client(t, etcdtest.WithUser(etcdtest.RootUser, etcdtest.RootPassword))
	user := role + realm
	_, err := root.RoleAdd(ctx, user)
	require.NoError(t, err)
	for _, g := range grants {
		mode, ok := map[string]clientv3.PermissionType{
			"read": clientv3.PermissionType(clientv3.PermRead), "write": clientv3.PermissionType(clientv3.PermWrite),
			"readwrite": clientv3.PermissionType(clientv3.PermReadWrite),
		}[g.mode]
		require.True(t, ok)
		key, end := realm+g.key, ""
		if g.prefix {
			end = clientv3.GetPrefixRangeEnd(key)
		}
		_, err := root.RoleGrantPermission(ctx, user, key, end, mode)
		require.NoError(t, err)
	}
	_, err = root.UserAdd(ctx, user, "secret")
	require.NoError(t, err)
	_, err = root.UserGrantRole(ctx, user, user)
	require.NoError(t, err)

	a := &actor{t: t, name: realm + documented, root: root, client: c.Client(t, etcdtest.WithUser(user, "secret"))}
	a.session, err = lease.NewSession(ctx, a.client)
	require.NoError(t, err, "a session needs no permission")
	return errors.Join(use(ctx, a), a.session.Close(ctx), a.leftovers(ctx))
}

// leftovers tells of keys that the session could not take with it. Requests for release go by
// themselves.
func (a *actor) leftovers(ctx context.Context) error {
	resp, err := a.root.Get(ctx, a.name, clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		return err
	}
	for _, kv := range resp.Kvs {
		if !strings.HasPrefix(string(kv.Key), a.name+"/~request/") {
			return fmt.Errorf("%s is left", kv.Key)
		}
	}
	return nil
}

// acquire is how a lock is taken.
type acquire func(context.Context) (*lock.Hold, error)

// lockTwice has one hold and another that waits for it.
func lockTwice(build func(a *actor) (acquire, error)) func(context.Context, *actor) error {
	return func(ctx context.Context, a *actor) error {
		lock, err := build(a)
		if err != nil {
			return err
		}
		return a.contend(ctx, lock)
	}
}

func (a *actor) contend(ctx context.Context, lock acquire) error {
	h, err := lock(ctx)
	if err != nil {
		return err
	}
	second := make(chan error, 1)
	go func() {
		h, err := lock(ctx)
		if err == nil {
			err = h.Unlock(ctx)
		}
		second <- err
	}()
	return errors.Join(h.Unlock(ctx), <-second)
}

func mutex(opts ...lock.Option) func(a *actor) (acquire, error) {
	return func(a *actor) (acquire, error) {
		m, err := lock.NewMutex(a.session, a.name, opts...)
		return m.Lock, err
	}
}

func semaphore(a *actor) (acquire, error) {
	s, err := lock.NewSemaphore(a.session, a.name, 3)
	return func(ctx context.Context) (*lock.Hold, error) { return s.Acquire(ctx, 2) }, err
}

func useRWMutex(ctx context.Context, a *actor) error {
	m, err := lock.NewRWMutex(a.session, a.name)
	if err != nil {
		return err
	}
	h, err := m.Lock(ctx)
	if err != nil {
		return err
	}
	h, err = m.Downgrade(ctx, h)
	if err != nil {
		return err
	}
	return errors.Join(h.Unlock(ctx), a.contend(ctx, m.Lock), a.contend(ctx, m.RLock))
}

func read(ctx context.Context, a *actor) error {
	m, err := lock.NewRWMutex(a.session, a.name)
	if err != nil {
		return err
	}
	if _, err := m.TryLock(ctx); err == nil {
		return errors.New("a reader may lock for writing")
	}
	return a.contend(ctx, m.RLock)
}

func listen(ctx context.Context, a *actor) error {
	m, err := lock.NewMutex(a.session, a.name)
	if err != nil {
		return err
	}
	h, err := m.Lock(ctx)
	if err != nil {
		return err
	}
	asked := h.ReleaseRequested()
	if err := lock.RequestRelease(ctx, a.root, a.name); err != nil {
		return err
	}
	select {
	case <-asked:
		return h.Unlock(ctx)
	case <-time.After(4 * time.Second): // only without permission
		return errors.Join(errors.New("not asked"), h.Unlock(ctx))
	}
}

// withHolder has somebody else hold the lock meanwhile.
func withHolder(use func(context.Context, *actor) error) func(context.Context, *actor) error {
	return func(ctx context.Context, a *actor) error {
		other, err := lease.NewSession(ctx, a.root)
		if err != nil {
			return err
		}
		m, err := lock.NewMutex(other, a.name)
		if err != nil {
			return err
		}
		return errors.Join(m.Do(ctx, func(ctx context.Context, _ *lock.Hold) error { return use(ctx, a) }), other.Close(ctx))
	}
}

func inspect(ctx context.Context, a *actor) error {
	entries, err := lock.Inspect(ctx, a.client, a.name)
	if err == nil && (len(entries) != 1 || entries[0].TTL == 0) {
		err = fmt.Errorf("entries: %+v", entries)
	}
	return err
}

func stand(opts ...election.LayoutOption) func(context.Context, *actor) error {
	return func(ctx context.Context, a *actor) error { return a.stand(ctx, opts) }
}

// both does one thing after the other.
func both(first, second func(context.Context, *actor) error) func(context.Context, *actor) error {
	return func(ctx context.Context, a *actor) error {
		if err := first(ctx, a); err != nil {
			return err
		}
		return second(ctx, a)
	}
}

func (a *actor) stand(ctx context.Context, opts []election.LayoutOption) error {
	var making []election.Option
	var reading []election.ReadOption
	for _, o := range opts {
		making, reading = append(making, o), append(reading, o)
	}
	e, err := election.New(a.session, a.name, making...)
	if err != nil {
		return err
	}
	t, err := e.Campaign(ctx, "first")
	if err != nil {
		return err
	}
	if err := t.Proclaim(ctx, "still"); err != nil {
		return err
	}
	second := make(chan error, 1)
	go func() {
		t, err := e.Campaign(ctx, "second")
		if err == nil {
			err = t.Resign(ctx)
		}
		second <- err
	}()
	var all []election.Candidate
	for err == nil && len(all) < 2 {
		all, err = election.Candidates(ctx, a.client, a.name, reading...)
	}
	if err != nil {
		return err
	}
	return errors.Join(t.Transfer(ctx, all[1]), <-second)
}

func observe(ctx context.Context, a *actor) error {
	_, err := election.Current(ctx, a.client, a.name)
	_, err2 := election.Candidates(ctx, a.client, a.name)
	for _, err3 := range election.Observe(ctx, a.client, a.name) {
		return errors.Join(err, err2, err3)
	}
	return errors.New("nothing observed")
}

func register(ctx context.Context, a *actor) error {
	r, err := lease.Register(ctx, a.session, a.name, "10.0.0.1")
	if err != nil {
		return err
	}
	return errors.Join(r.Update(ctx, "10.0.0.2"), r.Err(), r.Close(ctx))
}

func follow(ctx context.Context, a *actor) error {
	cache, err := watch.NewCache(ctx, a.client, a.name+"/", func(_ string, v []byte) (string, error) { return string(v), nil })
	if err != nil {
		return err
	}
	put, err := a.root.Put(ctx, a.name+"/k", "v")
	if err == nil {
		err = cache.WaitRevision(ctx, put.Header.Revision)
	}
	_, err2 := a.root.Delete(ctx, a.name+"/k")
	return errors.Join(err, err2, cache.Close(ctx))
}
