package vtime_test

import (
	"context"
	"go/ast"
	"go/parser"
	"go/printer"
	"go/token"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"

	"github.com/conclave-go/conclave/internal/vtime"
)

// The canary: it fails when clientv3 no longer has what this package borrows from it. A watch that stopped virtual time
// would only hang.
func TestClientv3StillHasTheVariableThatIsBorrowed(t *testing.T) {
	t.Parallel()
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-f", "{{.Dir}}", "go.etcd.io/etcd/client/v3").Output()
	require.NoError(t, err)
	watch := filepath.Join(strings.TrimSpace(string(dir)), "watch.go")
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, watch, nil, parser.SkipObjectResolution)
	require.NoError(t, err)

	var made, returned, closed string
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ValueSpec:
			if n.Names[0].Name == "valCtxCh" {
				made = source(t, files, n)
			}
		case *ast.FuncDecl:
			if n.Name.Name == "Done" && n.Recv != nil {
				returned = source(t, files, n)
			}
		case *ast.CallExpr:
			if call := source(t, files, n); call == "close(valCtxCh)" {
				closed = call
			}
		}
		return true
	})
	const advice = "see what a watch stream's context waits for now, and the package comment of vtime"
	require.Equal(t, "valCtxCh = make(chan struct{})", made, advice)
	require.Equal(t, "func (vc *valCtx) Done() <-chan struct{}\t{ return valCtxCh }", returned, advice)
	require.Empty(t, closed, "a nil channel stands for one that is never closed; %s", advice)
}

func source(t *testing.T, files *token.FileSet, n ast.Node) string {
	t.Helper()
	var b strings.Builder
	require.NoError(t, printer.Fprint(&b, files, n))
	return b.String()
}

func TestAWatchDoesNotStopVirtualTime(t *testing.T) {
	t.Parallel()
	finished := make(chan struct{})
	guard := time.AfterFunc(time.Minute, func() { panic("a watch stops virtual time: it waits for something outside the bubble") })
	defer guard.Stop()
	go func() {
		defer close(finished)
		vtime.Run(t, func(t *testing.T, s *vtime.Server) {
			events := s.Client().Watch(t.Context(), "k")
			vtime.Advance(time.Minute)
			require.NoError(t, put(t, s.Client(), "k", "v", time.Second))
			require.Len(t, (<-events).Events, 1)
		})
	}()
	<-finished
}

func TestAClientInRealTimeWatchesBesideBubbles(t *testing.T) {
	t.Parallel()
	client := realClient(t)
	events := client.Watch(t.Context(), "k", clientv3.WithCreatedNotify())
	require.True(t, (<-events).Created)
	for i := range 10 {
		vtime.Run(t, func(t *testing.T, s *vtime.Server) {
			inside := s.Client()
			events := inside.Watch(t.Context(), "k")
			vtime.Advance(time.Minute)
			require.NoError(t, put(t, inside, "k", "v", time.Second))
			require.Len(t, (<-events).Events, 1)
		})
		_, err := client.Put(t.Context(), "k", "v")
		require.NoError(t, err)
		require.Len(t, (<-events).Events, 1)
		// And a stream opened while the other one is in use.
		ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(t.Context()))
		again := client.Watch(ctx, "k", clientv3.WithRev(int64(i+2)))
		require.Len(t, (<-again).Events, 1)
		cancel()
	}
}

// realClient returns a client of an etcd of its own in real time.
func realClient(t *testing.T) *clientv3.Client {
	t.Helper()
	cfg := embed.NewConfig()
	cfg.Dir = t.TempDir()
	cfg.UnsafeNoFsync = true
	cfg.LogLevel = "panic"
	anyPort := []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = anyPort, anyPort
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = anyPort, anyPort
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	server, err := embed.StartEtcd(cfg)
	require.NoError(t, err)
	t.Cleanup(server.Close)
	<-server.Server.ReadyNotify()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{server.Clients[0].Addr().String()}, Logger: zap.NewNop()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	return client
}
