package vtime_test

import (
	"encoding/binary"
	"io"
	"net"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/bubble"
	"github.com/conclave-go/conclave/internal/vtime"
)

func TestBytesStayInOrderThroughHoldsAndHeals(t *testing.T) {
	t.Parallel()
	const words = 100_000 // ten times what a connection buffers
	bubble.Test(t, func(t *testing.T) {
		client, server, cut := pipe(t)
		go func() {
			for i := range words {
				switch i % 20_000 {
				case 0:
					cut.HoldToServer()
				case 10_000:
					cut.Heal() // with 40 kB pending, and more coming while they are delivered
				}
				if _, err := client.Write(binary.BigEndian.AppendUint32(nil, uint32(i))); err != nil {
					return
				}
			}
			_ = client.Close() // lets ReadAll end
		}()
		got, err := io.ReadAll(server)
		require.NoError(t, err)
		require.Len(t, got, 4*words)
		for i := range words {
			require.Equal(t, uint32(i), binary.BigEndian.Uint32(got[4*i:]))
		}
	})
}

func TestTheEndOfAConnectionIsReadAfterWhatWasHeld(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		client, server, cut := pipe(t)
		cut.Hold()
		_, err := client.Write([]byte("request"))
		require.NoError(t, err)
		_, err = server.Write([]byte("reply"))
		require.NoError(t, err)
		require.NoError(t, client.Close())
		cut.Heal()
		got, err := io.ReadAll(server)
		require.NoError(t, err)
		require.Equal(t, "request", string(got))
	})
}

func TestWritingDoesNotGiveAwayThatTheServerIsGone(t *testing.T) {
	t.Parallel()
	for name, cutWay := range map[string]func(*vtime.Cut){"lossy": (*vtime.Cut).CutToClient, "held": (*vtime.Cut).HoldToClient} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble.Test(t, func(t *testing.T) {
				client, server, cut := pipe(t)
				cutWay(cut)
				require.NoError(t, server.Close())
				_, err := client.Write([]byte("request"))
				require.NoError(t, err)
				read := make(chan error, 1)
				go func() {
					_, err := client.Read(make([]byte, 100))
					read <- err
				}()
				synctest.Wait()
				require.Empty(t, read)
				cut.Heal()
				require.Error(t, <-read)
				_, err = client.Write([]byte("request"))
				require.Error(t, err)
			})
		})
	}
}

func TestClosingACutConnectionEndsItsReader(t *testing.T) {
	t.Parallel()
	for name, cutWay := range map[string]func(*vtime.Cut){
		"whole": (*vtime.Cut).Heal, "cut": (*vtime.Cut).Cut, "hold": (*vtime.Cut).Hold,
		"cut to server": (*vtime.Cut).CutToServer, "hold to client": (*vtime.Cut).HoldToClient,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, sent := range []string{"", "reply"} {
				bubble.Test(t, func(t *testing.T) {
					client, server, cut := pipe(t)
					cutWay(cut)
					_, err := server.Write([]byte(sent))
					require.NoError(t, err)
					read := make(chan error, 1)
					go func() {
						_, err := io.ReadAll(client)
						read <- err
					}()
					synctest.Wait()
					require.Empty(t, read)
					require.NoError(t, client.Close())
					require.ErrorIs(t, <-read, net.ErrClosed)
					require.ErrorIs(t, client.Close(), net.ErrClosed)
				})
			}
		})
	}
}

func pipe(t *testing.T) (client, server net.Conn, cut *vtime.Cut) {
	t.Helper()
	client, server, cut, err := vtime.Pipe(t.Context())
	require.NoError(t, err)
	t.Cleanup(cut.Reset)
	return client, server, cut
}
