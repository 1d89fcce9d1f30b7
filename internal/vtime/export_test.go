package vtime

import (
	"context"
	"net"

	"google.golang.org/grpc/test/bufconn"
)

// Pipe returns the two ends of a bare connection, and the cut between them.
func Pipe(ctx context.Context) (client, server net.Conn, cut *Cut, err error) {
	lis := bufconn.Listen(pipeSize)
	accepted := make(chan net.Conn, 1)
	go func() {
		conn, _ := lis.Accept() // fails when dialling does
		accepted <- conn
	}()
	pipe, err := lis.DialContext(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	cut = newCut()
	return cut.control(pipe), <-accepted, cut, nil
}
