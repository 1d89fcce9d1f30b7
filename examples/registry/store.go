package main

import (
	"context"
	"time"

	"github.com/conclave-go/conclave/examples/internal/cluster"
	"github.com/conclave-go/conclave/internal/etcdtest"
)

// store is the etcd with the registrations. One that is embedded can be stopped.
type store struct {
	spec     cluster.Spec
	named    *cluster.Cluster  // nil if it is embedded
	embedded *etcdtest.Cluster // nil if it is named
}

func openStore(ctx context.Context, f *cluster.Flags) (*store, error) {
	if !f.Embedded() {
		c, err := cluster.Open(ctx, f)
		if err != nil {
			return nil, err
		}
		return &store{spec: c.Spec(), named: c}, nil
	}
	e, err := etcdtest.Start(ctx)
	if err != nil {
		return nil, err
	}
	return &store{spec: cluster.Spec{Endpoints: e.Endpoints(), DialTimeout: 2 * time.Second}, embedded: e}, nil
}

// String names the store for people.
func (s *store) String() string {
	if s.named != nil {
		return s.named.String()
	}
	return "embedded etcd"
}

// remove deletes what begins with prefix from a store that does not go away with it.
func (s *store) remove(ctx context.Context, prefix string) error {
	if s.named == nil {
		return nil
	}
	return s.named.Remove(ctx, prefix)
}

func (s *store) close() error {
	if s.named != nil {
		return s.named.Close()
	}
	return s.embedded.Close()
}

// canStop reports whether stop and restart work.
func (s *store) canStop() bool { return s.embedded != nil }

// stop kills etcd: connections break.
func (s *store) stop() error { return s.embedded.Kill(0) }

// restart starts it again, with its data, and returns when it serves.
func (s *store) restart(ctx context.Context) error { return s.embedded.Restart(ctx, 0) }
