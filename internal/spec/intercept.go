package spec

import (
	"context"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// DialOptions returns what makes a connection show its messages: those that the client sends,
// and what it gets for them. Put them before those of a recorder, which may stand in for the server.
// It may be called once; of a nil Process there are none.
func (p *Process) DialOptions() []grpc.DialOption {
	if p == nil {
		return nil
	}
	i := &interceptor{process: p}
	return []grpc.DialOption{grpc.WithChainUnaryInterceptor(i.unary), grpc.WithChainStreamInterceptor(i.stream)}
}

// interceptor takes note of messages.
type interceptor struct {
	process *Process
	calls   atomic.Int64 // and streams
}

func (i *interceptor) unary(
	ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption,
) error {
	id := i.calls.Add(1)
	i.process.Message(Message{Call: id, Request: clone(req)})
	err := invoke(ctx, method, req, reply, cc, opts...)
	m := Message{Call: id, Err: err}
	if err == nil {
		m.Response = clone(reply)
	}
	i.process.Message(m)
	return err
}

func (i *interceptor) stream(
	ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption,
) (grpc.ClientStream, error) {
	s, err := open(ctx, desc, cc, method, opts...)
	if err != nil {
		return nil, err
	}
	return &stream{s, i.process, i.calls.Add(1)}, nil
}

// stream is one whose messages are shown.
type stream struct {
	grpc.ClientStream

	process *Process
	id      int64
}

// SendMsg shows a message before it is sent.
func (s *stream) SendMsg(msg any) error {
	s.process.Message(Message{Call: s.id, Stream: true, Request: clone(msg)})
	return s.ClientStream.SendMsg(msg)
}

// RecvMsg shows a message before the client gets it.
func (s *stream) RecvMsg(msg any) error {
	if err := s.ClientStream.RecvMsg(msg); err != nil {
		return err
	}
	s.process.Message(Message{Call: s.id, Stream: true, Response: clone(msg)})
	return nil
}

// clone copies a message: wrappers such as clientv3/namespace edit theirs.
func clone(msg any) proto.Message {
	m, ok := msg.(proto.Message)
	if !ok {
		return nil
	}
	return proto.Clone(m)
}
