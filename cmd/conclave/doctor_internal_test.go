package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/conclave-go/conclave/internal/etcdtest"
)

func TestAClockThatIsWrongIsNamedWithWhatItIsOff(t *testing.T) {
	t.Parallel()
	const ahead = 90 * time.Second
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", time.Now().Add(ahead).UTC().Format(http.TimeFormat))
	}))
	t.Cleanup(server.Close)
	var d *diagnosis
	require.Eventually(t, func() bool { // a busy machine may not see a second begin
		d = &diagnosis{Members: []*member{{Name: "fast", Endpoint: server.URL}}}
		d.clocks(t.Context())
		return d.Members[0].Offset != nil
	}, time.Minute, time.Millisecond)
	require.InDelta(t, ahead.Seconds(), *d.Members[0].Offset, d.Members[0].OffsetError+0.05)
	require.Equal(t, warning, d.Findings[0].Level)
	require.Equal(t, "fast", d.Findings[0].Subject)
}

func TestAMemberThatIsDownIsKnownByItsAddressWhateverTheScheme(t *testing.T) {
	t.Parallel()
	d := &diagnosis{Members: []*member{{Endpoint: "m1.example:2379", Error: "is down"}}}
	list := []*pb.Member{{ID: 1, Name: "m1", ClientURLs: []string{"https://m1.example:2379"}}}
	d.strangers(t.Context(), nil, list, time.Second)
	require.Len(t, d.Members, 1)
	require.Equal(t, "m1", d.Members[0].Name)
}

func TestVersionsThatAreNotSupportedAreKnown(t *testing.T) {
	t.Parallel()
	for version, old := range map[string]bool{
		"3.3.27": true, "3.4.30": true, "3.4.31": false, "3.5.12": true, "3.5.13": false, "3.6.0": false, "3.8.0-alpha.1": false, "unknown": false,
	} {
		require.Equal(t, old, unsupported(version), version)
	}
}

func TestPermissionsCoverARangeTogether(t *testing.T) {
	t.Parallel()
	u := &user{Permissions: []permission{
		{Type: "readwrite", from: "c", to: "e"}, {Type: "read", from: "a", to: "c"}, {Type: "write", from: "x", to: ""},
	}}
	for _, c := range []struct {
		what, from, to string
		may            bool
	}{
		{"read", "a", "e", true},
		{"read", "b", "d", true},
		{"write", "a", "e", false},
		{"read", "d", "f", false},
		{"write", "y", "\x00", true},
		{"read", "y", "z", false},
		{"read", "a", "\x00", false},
	} {
		require.Equal(t, c.may, u.may(c.what, c.from, c.to), c)
	}
}

func TestAProbeDoesNotWaitLongForTheEndOfItsLease(t *testing.T) {
	t.Parallel()
	c, rec := etcdtest.New(t), &etcdtest.Recorder{}
	client, key := c.Client(t, etcdtest.WithRecorder(rec)), c.Prefix(t)+"probe"
	gone := make(chan struct{})
	defer close(gone)
	t.Cleanup(rec.Hook("LeaseRevoke", func(ctx context.Context, _ any, _ func() error) error {
		select {
		case <-ctx.Done():
		case <-gone:
		}
		return status.Error(codes.DeadlineExceeded, "no answer")
	}))
	ended := make(chan error, 1)
	go func() {
		_, _, err := probe(t.Context(), client, key, time.Second)
		ended <- err
	}()
	select {
	case err := <-ended:
		require.Equal(t, exitUnavailable, code(err), "%v", err)
	case <-time.After(time.Minute / 2):
		require.Fail(t, "it waits")
	}
}
