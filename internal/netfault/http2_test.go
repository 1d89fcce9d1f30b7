package netfault_test

import (
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

const (
	data         byte = 0
	headers      byte = 1
	settings     byte = 4
	ping         byte = 6
	windowUpdate byte = 8
)

// h2frame is a frame with a payload of zeros.
func h2frame(kind byte, stream uint32, length int) []byte {
	f := make([]byte, 9+length)
	f[0], f[1], f[2], f[3] = byte(length>>16), byte(length>>8), byte(length), kind
	binary.BigEndian.PutUint32(f[5:], stream)
	return f
}

func TestDropNextReplyOnHTTP2WaitsForTheAnswerOnTheRequestsStream(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, ln.Close()) }()
	p := start(t, ln.Addr().String())
	c := dial(t, p)
	server, err := ln.Accept()
	require.NoError(t, err)
	defer func() { _ = server.Close() }()
	toServer := func(chunks ...[]byte) {
		for _, b := range chunks {
			pass(t, c, server, b)
		}
	}
	toClient := func(b []byte) { pass(t, server, c, b) }

	// The preface and a frame's head, split where a chunk may end.
	toServer([]byte(preface[:10]), []byte(preface[10:]), h2frame(settings, 0, 6)[:4], h2frame(settings, 0, 6)[4:])
	dropped := p.DropNextReply()

	// None of these is a request.
	toServer(h2frame(ping, 0, 8), h2frame(headers, 7, 30), h2frame(data, 7, 0))
	toClient(h2frame(headers, 7, 10))
	requireNothing(t, dropped)

	// This is one, and none of those its answer.
	toServer(append(h2frame(windowUpdate, 0, 4), h2frame(data, 9, 100)...))
	toClient(h2frame(ping, 0, 8))
	toClient(h2frame(windowUpdate, 9, 4))
	toClient(append(h2frame(headers, 7, 5), h2frame(data, 7, 50)...))
	requireNothing(t, dropped)

	_, err = server.Write(append(h2frame(ping, 0, 8), h2frame(headers, 9, 20)...))
	require.NoError(t, err)
	receive(t, dropped)
	c.expectReset()
}

// pass writes b at one end and reads it at the other.
func pass(t *testing.T, from io.Writer, to net.Conn, b []byte) {
	t.Helper()
	_, err := from.Write(b)
	require.NoError(t, err)
	require.NoError(t, to.SetReadDeadline(time.Now().Add(guard)))
	got := make([]byte, len(b))
	_, err = io.ReadFull(to, got)
	require.NoError(t, err)
	require.Equal(t, b, got)
}
