package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/examples/internal/cluster"
	"github.com/conclave-go/conclave/examples/internal/workers"
	"github.com/conclave-go/conclave/internal/process"
	"github.com/conclave-go/conclave/watch"
)

// processes is how many there are in the fleet.
const processes = 3

// fleet is the processes and what comes to be known of them, from themselves and from
// etcd.
type fleet struct {
	*workers.Merger[event]

	members  []*member
	client   *clientv3.Client
	watching sync.WaitGroup
	stop     context.CancelFunc
}

// member is a process that may be started again.
type member struct {
	*process.Process

	job assignment
}

// openFleet returns a fleet of which no process runs yet. The caller closes it.
func openFleet(ctx context.Context, c *cluster.Cluster, o options) (*fleet, error) {
	client, err := c.Spec().Dial()
	if err != nil {
		return nil, err
	}
	f := &fleet{Merger: workers.NewMerger[event](), client: client}
	for i := range processes {
		name := fmt.Sprintf("w%d", i+1)
		f.members = append(f.members, &member{job: assignment{name, o.prefix, o.ttl, c.Spec()}})
	}
	ctx, f.stop = context.WithCancel(ctx)
	f.watching.Go(func() { f.follow(ctx, o.prefix) })
	return f, nil
}

// follow passes on what is written under the prefix, until ctx ends.
func (f *fleet) follow(ctx context.Context, prefix string) {
	for batch, err := range watch.Stream(ctx, f.client, prefix, watch.WithPrefix(), watch.WithSnapshot()) {
		if err != nil {
			f.Add(event{At: process.Now(), Worker: "watch", Kind: ended, Detail: err.Error()})
			return
		}
		for _, e := range batch.Events {
			key := strings.TrimPrefix(string(e.Kv.Key), prefix)
			what, isResult := stored, strings.HasPrefix(key, resultKey)
			if isResult {
				what = result
			}
			var rec record
			if (isResult || strings.HasPrefix(key, stateKey)) && json.Unmarshal(e.Kv.Value, &rec) == nil {
				f.Add(event{At: process.Now(), Kind: what, Record: rec})
			}
		}
	}
}

// start starts a process, for the first time or again.
func (f *fleet) start(m *member) error {
	p, err := process.Start(m.job.Worker, workerRole, m.job, f.Add, func(detail string) {
		f.Add(event{At: process.Now(), Worker: m.job.Worker, Kind: ended, Detail: detail})
	})
	if err == nil {
		m.Process = p
	}
	return err
}

// startAll starts every process.
func (f *fleet) startAll() error {
	for _, m := range f.members {
		if err := f.start(m); err != nil {
			return err
		}
	}
	return nil
}

// tell sends a line to all but one.
func (f *fleet) tell(line string, but *member) error {
	for _, m := range f.members {
		if m == but {
			continue
		}
		if err := m.Send(line); err != nil {
			return err
		}
	}
	return nil
}

// find returns the process of a name.
func (f *fleet) find(name string) *member {
	for _, m := range f.members {
		if m.job.Worker == name {
			return m
		}
	}
	return nil
}

// quit has all processes end, in good order.
func (f *fleet) quit() error {
	var started []*process.Process
	for _, m := range f.members {
		if m.Process != nil {
			started = append(started, m.Process)
		}
	}
	return workers.Quit(started...)
}

// close ends everything.
func (f *fleet) close() error {
	f.Stop() // nobody listens any more
	err := f.quit()
	f.stop()
	f.watching.Wait()
	return errors.Join(err, f.client.Close())
}
