//go:build !race

package leaderelection

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/klog/v2"
)

// Candidate is a candidate of client-go's, and what it has been told. Use [NewCandidate].
type Candidate struct {
	elector *leaderelection.LeaderElector
	leaders chan string
}

// NewCandidate returns a candidate that calls lead when it is elected. As in client-go's
// example, but not by default, it releases its lease when its Run ends.
func NewCandidate(etcd *clientv3.Client, name, identity string, lead func(context.Context)) (*Candidate, error) {
	c := &Candidate{leaders: make(chan string, 100)}
	config := leaderelection.LeaderElectionConfig{
		Lock: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Name: name},
			Client:     apiServer{etcd: etcd},
			LockConfig: resourcelock.ResourceLockConfig{Identity: identity},
		},
		LeaseDuration:   LeaseDuration,
		RenewDeadline:   RenewDeadline,
		RetryPeriod:     RetryPeriod,
		ReleaseOnCancel: true,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: lead,
			OnStoppedLeading: func() {},
			OnNewLeader:      func(identity string) { c.leaders <- identity },
		},
	}
	var err error
	c.elector, err = leaderelection.NewLeaderElector(config)
	return c, err
}

// Leaders gives the leaders that the candidate hears of, one after the other.
func (c *Candidate) Leaders() <-chan string { return c.leaders }

// Run runs the candidate until ctx ends, or it has been the leader. It writes no log.
func (c *Candidate) Run(ctx context.Context) { c.elector.Run(klog.NewContext(ctx, klog.Logger{})) }

// Start runs the candidate until the returned function is called, which waits for it.
func (c *Candidate) Start(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.Run(ctx)
	}()
	return func() {
		cancel()
		<-ended
	}
}
