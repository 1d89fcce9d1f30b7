//go:build unix

package main_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/etcdtest"
)

// diagnosis is what doctor says.
type diagnosis struct {
	Members []struct {
		Name    string   `json:"name"`
		Version string   `json:"version"`
		Role    string   `json:"role"`
		Offset  *float64 `json:"clock_offset_seconds"`
		Give    float64  `json:"clock_offset_error_seconds"`
		Error   string   `json:"error"`
	} `json:"members"`
	Latency []struct {
		What   string  `json:"what"`
		Median float64 `json:"median_ms"`
	} `json:"latency"`
	User struct {
		Auth bool `json:"auth_enabled"`
		Root bool `json:"root"`
	} `json:"user"`
	Findings []struct{ Level, Subject, Says, Do string } `json:"findings"`
}

// doctor requires an exit code, and returns what is said.
func (p *program) doctor(code int, args ...string) (d diagnosis) {
	p.t.Helper()
	o := p.run(append([]string{"doctor", "-o", "json"}, args...)...)
	require.Equal(p.t, code, o.code, "%s%s", o.stdout, o.stderr)
	require.NoError(p.t, json.Unmarshal([]byte(o.stdout), &d))
	return d
}

// finds requires a finding of a level that says something, and something to be done unless all is well.
func (d diagnosis) finds(t *testing.T, level, says string) {
	t.Helper()
	if !d.found(level, says) {
		require.Failf(t, "not found", "%s %q in %v", level, says, d.Findings)
	}
}

func (d diagnosis) found(level, says string) bool {
	for _, f := range d.Findings {
		if f.Level == level && strings.Contains(f.Subject+" "+f.Says, says) {
			return true
		}
	}
	return false
}

// well returns what is said when all is well. On a busy machine members may elect a leader
// meanwhile, and no second may be seen to begin.
func (p *program) well(args ...string) (d diagnosis) {
	p.t.Helper()
	require.Eventually(p.t, func() bool {
		d = diagnosis{}
		o := p.run(append([]string{"doctor", "-o", "json"}, args...)...)
		if o.code != 0 || json.Unmarshal([]byte(o.stdout), &d) != nil {
			return false
		}
		for _, m := range d.Members {
			if m.Offset == nil {
				return false
			}
		}
		return d.found("ok", "all members answer and have one leader")
	}, hang, poll)
	return d
}

func TestAnEtcdThatIsWellIsSaidToBe(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithMembers(3))
	p := newProgram(t).via(c.Endpoints()...)
	d := p.well()
	require.Len(t, d.Members, 3)
	roles := map[string]int{}
	for _, m := range d.Members {
		roles[m.Role]++
		require.NotEmpty(t, m.Name)
		require.LessOrEqual(t, abs(*m.Offset), m.Give+0.1, "it is the same clock")
	}
	require.Equal(t, map[string]int{"leader": 1, "follower": 2}, roles)
	d.finds(t, "note", "authentication is off")
	require.Len(t, d.Latency, 3)
	for i, what := range []string{"read", "write", "watch"} {
		require.Equal(t, what, d.Latency[i].What)
		require.Positive(t, d.Latency[i].Median)
	}
	var text string
	require.Eventually(t, func() bool {
		o := p.run("doctor")
		text = o.stdout
		return o.code == 0 && o.stderr == ""
	}, hang, poll)
	for _, head := range []string{"MEMBER", "LATENCY", "FINDING", "→"} {
		require.Contains(t, text, head)
	}
	resp, err := p.client().Get(t.Context(), "conclave-doctor/")
	require.NoError(t, err)
	require.Empty(t, resp.Kvs)
}

func abs(f float64) float64 { return max(f, -f) }

func TestAMemberThatIsDownIsNamed(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithMembers(3), etcdtest.WithControl())
	p := newProgram(t).via(c.Endpoints()...)
	require.NoError(t, c.Kill(1))
	_, err := c.WaitLeader(t.Context())
	require.NoError(t, err)
	require.Eventually(t, func() bool { // on a busy machine others may be late, too
		var d diagnosis
		o := p.run("doctor", "-o", "json", "--command-timeout", "2s")
		return o.code == 1 && json.Unmarshal([]byte(o.stdout), &d) == nil && len(d.Members) == 3 &&
			strings.Contains(d.Members[1].Error, "connection refused") && d.found("problem", "does not answer")
	}, hang, poll)
}

func TestAMemberThatIsCutOffFromTheOthersIsNamed(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithMembers(3), etcdtest.WithControl())
	p := newProgram(t)
	leader, err := c.WaitLeader(t.Context())
	require.NoError(t, err)
	cut := (leader + 1) % 3
	require.NoError(t, c.Isolate(cut))
	// Members hear of it when their election timeouts have passed.
	require.Eventually(t, func() bool {
		o := p.via(c.Endpoints()...).run("doctor", "--command-timeout", "2s")
		return o.code == 1 && strings.Contains(o.stdout, "has no leader: it is cut off")
	}, hang, poll)
}

func TestNoMemberAnswers(t *testing.T) {
	t.Parallel()
	o := newProgram(t).via("127.0.0.1:1").run("doctor", "--command-timeout", "300ms")
	require.Equal(t, 69, o.code)
	require.Contains(t, o.stdout, "connection refused")
}

func TestAMemberThatIsNotAmongTheEndpointsIsAskedToo(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithMembers(3))
	d := newProgram(t).via(c.Endpoints()[0]).well()
	require.Len(t, d.Members, 3)
	d.finds(t, "note", "and not among the endpoints")
}

func TestAFullDatabaseIsSaidToBeFull(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	p := newProgram(t).via(c.Endpoints()...)
	full(t, p.client())
	d := p.doctor(1)
	d.finds(t, "problem", "NOSPACE")
}

func TestPermissionsAreLookedUpForAPrefix(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	require.NoError(t, c.EnableAuth(t.Context()))
	require.NoError(t, c.AddUser(t.Context(), "ann", "secret", "mine/"))
	p := newProgram(t).via(c.Endpoints()...).with("ETCDCTL_USER=ann:secret")
	d := p.doctor(0, "mine/jobs/")
	require.True(t, d.User.Auth)
	require.False(t, d.User.Root)
	d.finds(t, "note", `"ann" may: readwrite prefix "mine/"`)
	d.finds(t, "ok", `"ann" may read and write everything below "mine/jobs/"`)
	d = p.doctor(1, "other/")
	d.finds(t, "problem", `"ann" may not read and write everything below "other/"`)
	d.finds(t, "problem", "may not read \"other/")
	require.Equal(t, 77, p.with("ETCDCTL_USER=ann:wrong").run("doctor").code)
}

// full raises the alarm of a full database.
func full(t *testing.T, client *clientv3.Client) {
	t.Helper()
	list, err := client.MemberList(t.Context())
	require.NoError(t, err)
	_, err = pb.NewMaintenanceClient(client.ActiveConnection()).Alarm(t.Context(), &pb.AlarmRequest{
		Action: pb.AlarmRequest_ACTIVATE, Alarm: pb.AlarmType_NOSPACE, MemberID: list.Members[0].ID,
	})
	require.NoError(t, err)
}
