package watches

import (
	"context"
	"fmt"
	"iter"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/compare/perf"
	"github.com/conclave-go/conclave/watch"
)

// source yields how many events come at a time. The first item says that the watch is in
// place; an error is the last.
type source func(ctx context.Context, client *clientv3.Client, prefix string) iter.Seq2[int, error]

func conclave(ctx context.Context, client *clientv3.Client, prefix string) iter.Seq2[int, error] {
	return func(yield func(int, error) bool) {
		for batch, err := range watch.Stream(ctx, client, prefix, watch.WithPrefix()) {
			if !yield(len(batch.Events), err) {
				return
			}
		}
	}
}

func raw(ctx context.Context, client *clientv3.Client, prefix string) iter.Seq2[int, error] {
	return func(yield func(int, error) bool) {
		ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
		defer cancel()
		for resp := range client.Watch(ctx, prefix, clientv3.WithPrefix(), clientv3.WithCreatedNotify()) {
			if !yield(len(resp.Events), resp.Err()) {
				return
			}
		}
	}
}

// lacking is what a bare watch does not do.
const lacking = "survives no compaction and no silent server; its buffer has no limit"

// sides are the sources, each with a client of its own and a writer's, and what they do
// with them in a round.
func sides(ctx context.Context, on *perf.Env, round func(ctx context.Context, s source, reader, writer *clientv3.Client) (perf.Samples, error)) ([]perf.Side, func() error, error) {
	all, err := clients(ctx, on, 3)
	if err != nil {
		return nil, nil, err
	}
	side := func(name, lacks string, s source, reader *clientv3.Client) perf.Side {
		return perf.Side{Name: name, Lacks: lacks, Round: func(ctx context.Context) (perf.Samples, error) {
			return round(ctx, s, reader, all[2])
		}}
	}
	return []perf.Side{side("conclave", "", conclave, all[0]), side("raw", lacking, raw, all[1])}, nothing, nil
}

// errEnded says that a source has ended before it has delivered everything.
func errEnded(got, want int) error {
	return fmt.Errorf("the watch ended after %d of %d events", got, want)
}
