//go:build unix

package main_test

import (
	"encoding/json"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// fields are the words of each line.
func fields(text string) [][]string {
	var lines [][]string
	for line := range strings.Lines(text) {
		lines = append(lines, strings.Fields(line))
	}
	return lines
}

// inspected is what inspect says of a name.
type inspected struct {
	Name    string `json:"name"`
	Entries []struct {
		Kind     string  `json:"kind"`
		State    string  `json:"state"`
		Owner    string  `json:"owner"`
		Value    string  `json:"value"`
		Token    string  `json:"token"`
		Key      string  `json:"key"`
		TTL      float64 `json:"ttl_seconds"`
		WaitsFor string  `json:"waits_for_owner"`
	} `json:"entries"`
}

func (p *program) inspect(name string) (in inspected) {
	p.t.Helper()
	require.NoError(p.t, json.Unmarshal([]byte(p.good("inspect", name, "-o", "json")), &in))
	return in
}

func TestHoldersAndThoseWhoWaitAreShown(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	p.start("lock", "a", "--owner", "ann").says("a/~mutex/")
	p.start("lock", "a", "--owner", "bob", "--", "true")
	awaitWaiters(t, p, 1)
	p.start("elect", "e", "value of eve", "--owner", "eve").says("e/~election/")
	p.start("lock", "s", "--permits", "2/3", "--owner", "sam").says("s/~semaphore/")

	lines := fields(p.good("inspect", "a", "e", "s", "free"))
	require.Equal(t, []string{"NAME", "KIND", "STATE", "OWNER", "TOKEN", "AGE", "TTL", "WAITS", "FOR"}, lines[0])
	require.Equal(t, []string{"a", "mutex", "holds", "ann"}, lines[1][:4])
	require.Equal(t, []string{"a", "mutex", "waits", "bob"}, lines[2][:4])
	require.Equal(t, "ann", lines[2][7])
	require.Equal(t, []string{"e", "election", "holds", "eve"}, lines[3][:4])
	require.Equal(t, []string{"s", "semaphore", "2/3", "holds", "sam"}, lines[4][:5])
	require.Equal(t, []string{"free", "-", "free"}, lines[5])
	require.Contains(t, p.good("inspect", "e", "-o", "wide"), "value of eve")

	in := p.inspect("a")
	require.Equal(t, "a", in.Name)
	require.Len(t, in.Entries, 2)
	require.Equal(t, "ann", in.Entries[1].WaitsFor)
	require.Positive(t, in.Entries[0].TTL)
	require.Empty(t, p.inspect("free").Entries)

	require.Equal(t, [][]string{
		{"NAME", "KIND", "ENTRIES"}, {"a", "mutex", "2"}, {"e", "election", "1"}, {"s", "semaphore", "1"},
	}, fields(p.good("ls")))
	require.JSONEq(t, `{"name":"e","kind":"election","entries":1}`, p.good("ls", "e", "-o", "json"))
	require.Empty(t, p.good("ls", "nothing"))
}

func TestAReaderWaitsForTheWriterBeforeIt(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	p.start("lock", "a", "--read", "--owner", "first").says("~rwmutex/r/")
	p.start("lock", "a", "--write", "--owner", "writer", "--", "true")
	awaitWaiters(t, p, 1)
	p.start("lock", "a", "--read", "--owner", "second", "--", "true")
	awaitWaiters(t, p, 2)
	var seen [][3]string
	for _, e := range p.inspect("a").Entries {
		seen = append(seen, [3]string{e.Kind, e.Owner, e.WaitsFor})
	}
	require.Equal(t, [][3]string{{"read", "first", ""}, {"write", "writer", "first"}, {"read", "second", "writer"}}, seen)
}

func TestAChangeIsShownAtOnce(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	k := p.start("inspect", "a", "--watch")
	k.says("free")
	holder := p.start("lock", "a", "--owner", "ann")
	k.says("ann")
	before := strings.Count(k.stdout.String(), "free")
	require.NoError(t, holder.in.Close())
	require.Eventually(t, func() bool { return strings.Count(k.stdout.String(), "free") > before }, hang, poll)
	require.NoError(t, k.Process.Signal(syscall.SIGINT))
	require.Equal(t, 130, k.ends())
	require.NotContains(t, k.stdout.String(), "\x1b", "no colours in a pipe")
}

func TestAReleaseIsAskedForAndHeeded(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	require.Equal(t, "nobody holds lock \"a\"\n", p.good("release", "a"))
	k := p.start("lock", "a", "--owner", "ann", "--on-request", "USR1", "--", "sh", "-c",
		`trap 'echo goes; exit 3' USR1; echo ready; while :; do sleep 0.02; done`)
	k.says("ready")
	require.Contains(t, p.good("release", "a"), `asked ann for lock "a" (token `)
	k.says("goes")
	require.Equal(t, 3, k.ends())
}

func TestAnEntryIsDeletedOnlyByItsTokenAndAfterAWarning(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	k := p.start("lock", "a", "--owner", "ann", "--", "sh", "-c", "echo ready; exec sleep 60")
	k.says("ready")
	token := p.inspect("a").Entries[0].Token
	for code, force := range map[int]string{64: "x", 75: "1"} {
		o := p.run("release", "a", "--force", force, "--yes")
		require.Equal(t, code, o.code, o.stderr)
	}
	o := p.run("release", "a", "--force", token)
	require.Equal(t, 64, o.code)
	require.Contains(t, o.stderr, "two may do what one should. Say --yes if that is meant.")
	require.NotEmpty(t, p.inspect("a").Entries)
	require.Contains(t, p.good("release", "a", "--force", token, "--yes"), "of ann, which had token "+token)
	require.Equal(t, 76, k.ends())
	require.Contains(t, k.stderr.String(), "the command was ended")
}

func TestAnEntryOfTheOtherLayoutIsDeletedByItsToken(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	k := p.start("lock", "a", "--etcd-layout", "--", "sh", "-c", "echo ready; exec sleep 60")
	k.says("ready")
	shown := p.good("inspect", "a", "--etcd-layout", "-o", "json")
	token := regexp.MustCompile(`"token": *"([^"]+)"`).FindStringSubmatch(shown)
	require.Len(t, token, 2, shown)
	o := p.run("release", "a", "--etcd-layout")
	require.Equal(t, 64, o.code)
	require.Contains(t, o.stderr, "must come with --force")
	p.good("release", "a", "--etcd-layout", "--force", token[1], "--yes")
	require.Equal(t, 76, k.ends())
}
