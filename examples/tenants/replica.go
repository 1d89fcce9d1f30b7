package main

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/conclave-go/conclave/election"
	"github.com/conclave-go/conclave/examples/internal/cluster"
	"github.com/conclave-go/conclave/examples/internal/workers"
	"github.com/conclave-go/conclave/internal/process"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

const (
	// replicaRole is the role of the processes that this program starts.
	replicaRole = "replica"
	// closeTimeout bounds a replica's clean-up; its parent waits a little longer.
	closeTimeout = 2 * time.Second
)

// job is what a replica is told on the first line of its standard input. Each further
// line is a push: a statement about a policy.
type job struct {
	Name      string
	Root      root
	TTL, Pull time.Duration
	Etcd      cluster.Spec
}

// kind says what an event is about.
type kind string

const (
	ready   kind = "ready"   // it stands for election
	leads   kind = "leads"   // it was elected; Term
	failed  kind = "failed"  // it cannot make the product of Key what it should be; Detail says why
	learned kind = "learned" // it believes Stated, From somewhere
	ignored kind = "ignored" // it does not
	seen    kind = "seen"    // the product of Key has as many Instances, since Term; of no replica
)

// event is what a replica reports, as a line on its standard output.
type event struct {
	Replica   string
	Kind      kind
	Term      lock.Token
	Key       string
	Instances int
	Detail    string
	Stated    stated
	From      source
}

// replica is one of several controllers, of which one leads.
type replica struct {
	job      job
	policies policies
	line     *process.Line
}

// runReplica is the program as a replica.
func runReplica(ctx context.Context, line *process.Line) error {
	r := &replica{line: line}
	r.policies.known, r.policies.heard = make(map[string]stated), r.heard
	return line.Serve(ctx, &r.job, r.pushed, r.run)
}

func (r *replica) report(e event) {
	e.Replica = r.job.Name
	r.line.Report(e)
}

// pushed takes a push.
func (r *replica) pushed(line string) {
	var s stated
	if err := json.Unmarshal([]byte(line), &s); err == nil {
		r.policies.learn(s, pushed)
	}
}

// heard reports what was learned, and which pushes were ignored. A pull that brings
// nothing new is as it should be.
func (r *replica) heard(s stated, from source, news bool) {
	switch {
	case news:
		r.report(event{Kind: learned, Stated: s, From: from})
	case from == pushed:
		r.report(event{Kind: ignored, Stated: s, From: from})
	}
}

// run stands for election until ctx ends. Who does not lead keeps both caches up to
// date all the same, so that it can take over at once.
func (r *replica) run(ctx context.Context) (err error) {
	client, err := r.job.Etcd.Dial()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	closing := func(end func(context.Context) error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		err = errors.Join(err, end(ctx))
	}
	session, err := lease.NewSession(ctx, client, lease.WithTTL(r.job.TTL))
	if err != nil {
		return err
	}
	defer closing(session.Close)
	wanted, err := openProducts(ctx, client, r.job.Root.info())
	if err != nil {
		return err
	}
	defer closing(wanted.Close)
	e, err := election.New(session, string(r.job.Root)+"/controller", election.WithOwner(r.job.Name))
	if err != nil {
		return err
	}
	r.policies.client, r.policies.prefix = client, r.job.Root.policies()
	ctx, cancel := context.WithCancel(ctx)
	var pulling sync.WaitGroup
	defer pulling.Wait()
	defer cancel()
	pulling.Go(func() { r.policies.pullEvery(ctx, r.job.Pull) })

	c := &controller{client: client, root: r.job.Root, wanted: wanted, policies: &r.policies, failed: r.failed}
	r.report(event{Kind: ready})
	return workers.UnlessDone(ctx, e.Run(ctx, r.job.Name, func(ctx context.Context, t *election.Term) error {
		r.report(event{Kind: leads, Term: t.Token()})
		return c.lead(ctx, t)
	}))
}

// failed reports why a product is not what it should be.
func (r *replica) failed(key string, err error) {
	r.report(event{Kind: failed, Key: key, Detail: err.Error()})
}
