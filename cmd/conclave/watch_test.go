//go:build unix

package main_test

import (
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/etcdtest"
)

func TestEveryBatchIsALine(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	client := p.client()
	first, err := client.Put(t.Context(), "config/a", "1")
	require.NoError(t, err)
	text := p.start("watch", "config/", "--prefix", "--snapshot")
	text.says("SNAPSHOT  PUT config/a=1\n")
	objects := p.start("watch", "config/", "--prefix", "--rev", format(first.Header.Revision), "-o", "json")
	objects.says(`"events":[{"type":"put","key":"config/a","value":"1"`)
	for _, value := range []string{"two words", "\x01\xff"} {
		_, err = client.Put(t.Context(), "config/b", value)
		require.NoError(t, err)
	}
	_, err = client.Delete(t.Context(), "config/a")
	require.NoError(t, err)
	text.says("PUT config/b=two words\n")
	text.says(`PUT config/b="\x01\xff"` + "\n")
	text.says("DELETE config/a\n")
	objects.says(`"value":"two words"`)
	objects.says(`"value_base64":"Af8="`)
	objects.says(`{"type":"delete","key":"config/a",`)
	require.NoError(t, text.Process.Signal(syscall.SIGTERM))
	require.Equal(t, 143, text.ends())
	require.Empty(t, text.stderr.String())
}

func TestACommandSeesEveryBatchOnce(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	client := p.client()
	k := p.start("watch", "config/", "--prefix", "--snapshot", "--exec", `read -r object; echo "$CONCLAVE_REVISION: $object"; case $object in *stop*) exit 6;; esac`)
	_, err := client.Put(t.Context(), "config/a", "1")
	require.NoError(t, err)
	k.says(`"key":"config/a"`)
	_, err = client.Put(t.Context(), "config/b", "stop")
	require.NoError(t, err)
	require.Equal(t, 6, k.ends())
	require.Equal(t, 1, strings.Count(k.stdout.String(), `"key":"config/a"`))
}

func TestAWatchGoesOnAfterAPartition(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, net := newProgram(t).via(c.Endpoints()...), c.Net(t)
	client := p.client()
	k := p.via(net.Endpoints()...).start("watch", "config/a", "--snapshot")
	put := func(value string) {
		_, err := client.Put(t.Context(), "config/a", value)
		require.NoError(t, err)
	}
	put("before")
	k.says("=before")
	net.Cut()
	put("meanwhile")
	net.Heal()
	put("after")
	k.says("=meanwhile")
	k.says("=after")
}

func TestAHistoryThatIsGoneEndsAWatch(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	p := newProgram(t).via(c.Endpoints()...)
	_, err := p.client().Put(t.Context(), "config/a", "1")
	require.NoError(t, err)
	require.NoError(t, c.Compact(t.Context()))
	o := p.run("watch", "config/a", "--rev", "1")
	require.Equal(t, 70, o.code)
	require.Contains(t, o.stderr, "compacted")
	require.Equal(t, 64, p.run("watch", "config/a", "--rev", "-1").code)
}
