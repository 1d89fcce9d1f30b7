package main

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// The service, which tells the name of the server that answers:
//
//	service Whoami { rpc Ask(google.protobuf.Empty) returns (google.protobuf.StringValue); }
//
// What protoc would make of that is short enough to write by hand.
const (
	serviceName = "registry.Whoami"
	methodName  = "Ask"
)

// whoami is the service as a server has it.
type whoami interface {
	ask(ctx context.Context) (name string, err error)
}

func serviceDesc() *grpc.ServiceDesc {
	return &grpc.ServiceDesc{
		ServiceName: serviceName,
		HandlerType: (*whoami)(nil),
		Methods:     []grpc.MethodDesc{{MethodName: methodName, Handler: handleAsk}},
	}
}

//nolint:revive // the order of the parameters is gRPC's
func handleAsk(service any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	if err := decode(&emptypb.Empty{}); err != nil {
		return nil, err
	}
	name, err := service.(whoami).ask(ctx) //nolint:forcetypeassert,errcheck // gRPC has compared it with HandlerType
	return wrapperspb.String(name), err
}

// ask calls the service and returns who has answered.
func ask(ctx context.Context, conn grpc.ClientConnInterface) (string, error) {
	var name wrapperspb.StringValue
	err := conn.Invoke(ctx, "/"+serviceName+"/"+methodName, &emptypb.Empty{}, &name)
	return name.GetValue(), err
}
