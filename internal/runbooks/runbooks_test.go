package runbooks_test

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

// TestRunBooks plays each run-book, without and with authentication.
func TestRunBooks(t *testing.T) {
	t.Parallel()
	bin := t.TempDir()
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", bin,
		"go.etcd.io/etcd/etcdctl/v3", "go.etcd.io/etcd/etcdutl/v3", "go.etcd.io/etcd/server/v3").CombinedOutput()
	require.NoError(t, err, string(out))
	books := map[string]func(*cluster){
		"a lock is stuck":    stuckLock,
		"sessions are lost":  sessionsLost,
		"out of space":       outOfSpace,
		"replace a member":   replaceMember,
		"restore one member": func(c *cluster) { restore(c) },
		"restore":            func(c *cluster) { restore(c) },
		"quorum is lost":     quorumLost,
	}
	t.Run("restore without names", func(t *testing.T) {
		t.Parallel()
		c := newCluster(t, bin, 3, false)
		c.startAll()
		restoreWithoutNames(c)
	})
	for name, play := range books {
		for _, auth := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, auth %v", name, auth), func(t *testing.T) {
				t.Parallel()
				size := 3
				if name == "restore one member" {
					size = 1
				}
				c := newCluster(t, bin, size, false)
				c.startAll()
				if auth {
					c.enableAuth()
				}
				play(c)
			})
		}
	}
}

// hold locks job/m, and others, with a session that is closed when stop is called.
func (c *cluster) hold(others ...string) (h *lock.Hold, stop func()) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), hang)
	defer cancel()
	session, err := lease.NewSession(ctx, c.connect(c.endpoints()))
	require.NoError(c.t, err)
	for _, name := range append([]string{"job/m"}, others...) {
		m, err := lock.NewMutex(session, name)
		require.NoError(c.t, err)
		held, err := m.Lock(ctx)
		require.NoError(c.t, err)
		if h == nil {
			h = held
		}
	}
	return h, func() { _ = session.Close(context.WithoutCancel(ctx)) }
}

// leaseID is what the page uses as an example.
const leaseID = "694d9ad1e0a3b50c"

func stuckLock(c *cluster) {
	h, stop := c.hold("other/m")
	defer stop()
	id := regexp.MustCompile(`[0-9a-f]+$`).FindString(h.Key())
	mine := strings.NewReplacer("billing/invoice", "job/m", leaseID, id)
	as := map[string]string{}
	if c.auth {
		as["ETCDCTL_USER"] = "locker"
	}
	page := read(c.t, "A lock is stuck")
	c.askForRelease()

	require.Contains(c.t, c.run(mine.Replace(page.command(c.t, "etcdctl get --prefix")), as), h.Key())
	ask := mine.Replace(page.command(c.t, "lease timetolive"))
	require.Contains(c.t, c.run(ask, as), "remaining(")
	keys := strings.TrimSpace(ask) + " --keys"
	if c.auth { // as the table says: other/m is on the same lease
		out, err := c.try(keys, as)
		require.Error(c.t, err)
		require.Contains(c.t, out, "permission denied")
	}
	require.Contains(c.t, c.run(keys, nil), "other/m")
	c.run(mine.Replace(page.command(c.t, "etcdctl del")), as)
	require.NotContains(c.t, c.run("etcdctl get --prefix job/m --keys-only", nil), h.Key())
	page.requireDone(c.t)
	if !c.auth {
		return
	}
	out, err := c.try("etcdctl lease revoke "+id, as)
	require.Error(c.t, err)
	require.Contains(c.t, out, "permission denied")
	for _, command := range []string{"etcdctl compact 1", "etcdctl defrag", "etcdctl endpoint hashkv", "etcdctl snapshot save x"} {
		_, err := c.try(command, as)
		require.Error(c.t, err, "%s is root's", command)
	}
	for _, command := range []string{"etcdctl endpoint status", "etcdctl member list", "etcdctl alarm list", "etcdctl alarm disarm"} {
		c.run(command, as)
	}
}

// askForRelease shows that one who may write below the name may ask a holder whose lease has another key.
func (c *cluster) askForRelease() {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), hang)
	defer cancel()
	asker := c.connect(c.endpoints())
	if c.auth {
		asker = c.connectAs("locker", c.endpoints())
	}
	require.NoError(c.t, lock.RequestRelease(ctx, asker, "job/m"))
}

// sessionsLost plays what tells whether etcd was away.
func sessionsLost(c *cluster) {
	page := read(c.t, "Sessions are lost often")
	out := c.run(page.command(c.t, "endpoint status"), nil)
	for _, m := range c.members {
		require.Contains(c.t, out, m.client)
	}
	page.requireDone(c.t)
}

func outOfSpace(c *cluster) {
	c.run(`for i in 1 2 3; do etcdctl put filler$i v; done`, nil)
	page := read(c.t, "etcd is out of space")
	commands := page.command(c.t, "alarm disarm")
	c.run(strings.ReplaceAll(commands, "http://member-1:2379", c.members[0].client), nil)
	require.Empty(c.t, lines(c.run("etcdctl alarm list", nil)))
	page.requireDone(c.t)
}

func replaceMember(c *cluster) {
	page := read(c.t, "A member has to be replaced")
	gone := c.members[2]
	id := c.memberID(gone.name)
	c.kill(gone)
	c.members = c.members[:2]
	c.run(page.command(c.t, "member remove"), map[string]string{"OLD": id}, "unhealthy cluster")

	m := c.add("m4")
	others := map[string]string{"NAME": m.name, "PEER": m.peer, "ETCDCTL_ENDPOINTS": c.members[0].client + "," + c.members[1].client}
	out := c.run(page.command(c.t, "member add"), others, "unhealthy cluster")
	initial := regexp.MustCompile(`ETCD_INITIAL_CLUSTER="([^"]+)"`).FindStringSubmatch(out)
	require.Len(c.t, initial, 2, out)
	c.start(m, "--initial-cluster", initial[1], "--initial-cluster-state", "existing")
	promote := page.command(c.t, "member promote")
	others["NEW"] = c.memberID(m.name)
	c.run(promote, others, "can only promote a learner member which is in sync with leader")
	c.awaitMember(m)
	c.requireOneLine(page.command(c.t, `"Leader"`))
	page.requireDone(c.t)
}

// memberID returns a member's ID as member list has it.
func (c *cluster) memberID(name string) string {
	c.t.Helper()
	for _, line := range lines(c.run("etcdctl member list", map[string]string{"ETCDCTL_ENDPOINTS": c.members[0].client})) {
		fields := strings.Split(line, ", ")
		if len(fields) > 3 && (fields[2] == name || strings.HasSuffix(fields[3], c.peerOf(name))) {
			return fields[0]
		}
	}
	c.t.Fatalf("no member %s", name)
	return ""
}

func (c *cluster) peerOf(name string) string {
	for _, m := range c.members {
		if m.name == name {
			return m.peer
		}
	}
	return name
}

func (c *cluster) requireOneLine(command string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), hang)
	defer cancel()
	for len(lines(c.run(command, nil))) != 1 { // while members catch up, or elect a leader, there are others
		require.NoError(c.t, ctx.Err(), command)
	}
}

// restore restores one backup twice, as the page says, and checks that no revision of
// the first restore is given out again.
func restore(c *cluster) {
	h, stop := c.hold()
	c.run("etcdctl snapshot save backup.db", map[string]string{"ETCDCTL_ENDPOINTS": c.members[0].client})
	stop()
	last := h.Token().Revision()
	for k := 1; k <= 2; k++ {
		page := read(c.t, "Restoring a backup")
		c.restoreOnce(page, strconv.Itoa(k), "")
		revision := lines(c.run(page.command(c.t, `"Revision"`), nil))
		require.Len(c.t, revision, 1)
		page.requireDone(c.t)

		c.run("etcdctl put after v", nil)
		again, stop := c.hold()
		require.Greater(c.t, again.Token().Revision(), last, "a revision that was given out before")
		require.Greater(c.t, again.Token().Revision(), int64(k)*1_000_000_000)
		last = again.Token().Revision()
		stop()
	}
}

// restoreOnce goes from the backup to members that serve and agree.
func (c *cluster) restoreOnce(page *section, k, more string) {
	c.t.Helper()
	c.stop()
	status := page.command(c.t, "snapshot status")
	if more == "" {
		c.run(status, nil)
	}
	command := strings.TrimSpace(page.command(c.t, "snapshot restore")) + more
	for _, m := range c.members {
		m.data = filepath.Join(c.dir, m.name+"-"+k)
		c.run(command, map[string]string{
			"NAME": m.name, "PEER": m.peer, "CLUSTER": c.initial(), "TOKEN": "restore-" + k, "K": k, "DATA": m.data,
		})
	}
	c.startAll()
	require.Len(c.t, lines(c.run(page.command(c.t, "member list"), nil)), len(c.members))
	c.requireOneLine(page.command(c.t, `"Leader"`))
	c.requireOneLine(page.command(c.t, `"Hash"`))
}

func quorumLost(c *cluster) {
	page := read(c.t, "Quorum is lost for good")
	c.run("etcdctl put precious v", nil)
	left := c.members[0]
	for _, lost := range c.members[1:] {
		c.kill(lost)
	}
	c.terminate(left)
	c.run(page.command(c.t, "cp "), map[string]string{"DATA": left.data})
	page.requireDone(c.t)
	c.restoreOnce(read(c.t, "Restoring a backup"), "1", " --skip-hash-check")
	require.Contains(c.t, c.run("etcdctl get precious", nil), "v")
}

// restoreWithoutNames shows that the checks find what they are for: members restored
// without their names are each a cluster of its own.
func restoreWithoutNames(c *cluster) {
	c.run("etcdctl snapshot save backup.db", map[string]string{"ETCDCTL_ENDPOINTS": c.members[0].client})
	c.stop()
	page := read(c.t, "Restoring a backup")
	for _, m := range c.members {
		m.data = filepath.Join(c.dir, m.name+"-alone")
		c.run("etcdutl snapshot restore backup.db --data-dir "+m.data, nil)
		c.start(m, "--name", "default", "--initial-cluster", "default="+m.peer)
	}
	for _, m := range c.members {
		c.awaitMember(m)
	}
	for _, block := range page.blocks {
		if strings.Contains(block, "member list") {
			require.NotEqual(c.t, len(c.members), len(lines(c.run(block, nil))), "the check sees nothing")
		}
	}
}
