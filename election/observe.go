package election

import (
	"context"
	"errors"
	"fmt"
	"iter"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/attempt"
)

var errClientClosed = errors.New("the etcd client was closed")

// Observe yields the current leader, or the zero [Leader] if there is none, and then every
// change in order: another leader, none, or another value of the same. The first is read
// from etcd for this observer, so it is never a leader that had been superseded when the
// loop began.
//
// [WithEtcdLayout] a proclamation of the same value is a change too, as in the other
// library.
//
// Compaction, reconnects and vanished members are invisible, except that changes may be
// compacted before this client has seen them: then the state after them is yielded. An
// observer that is more than 128 changes behind misses the oldest of those. It delays
// nobody else.
//
// The loop goes on until it is left, or until an error, which is the last item: when ctx
// ends (it then Is ctx.Err()), when the client is closed, when the server refuses, or when the
// store is not the one that was observed any more, as after a restore from a backup: the error
// then Is [watch.ErrCluster] or [watch.ErrFutureRevision]. What was yielded may never have happened
// there, and tokens may begin anew, so whoever has acted on it should know; Observe may be called
// again. Credentials that worked before and are refused now are tried again until they work; the
// client's logger reports this at Warn. All loops over one election with one client share a
// watch; the last one closes it.
func Observe(ctx context.Context, client *clientv3.Client, name string, opts ...ReadOption) iter.Seq2[Leader, error] {
	return func(yield func(Leader, error) bool) {
		p, err := readConfig(ctx, client, name, opts)
		if err != nil {
			yield(Leader{}, err)
			return
		}
		//nolint:forbidigo // not a deadline: a closed client has nothing to observe with
		closed := client.Ctx()
		open, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		// With authentication on, requests of a closed client do not fail.
		stop := context.AfterFunc(closed, func() { cancel(errClientClosed) })
		defer stop()
		err = observe(open, client, p.place, func(l Leader) bool { return yield(l, nil) })
		if err != nil && ctx.Err() == nil && closed.Err() != nil {
			err = errClientClosed
		}
		if err != nil {
			yield(Leader{}, fmt.Errorf("election: observing %q: %w", name, err))
		}
	}
}

// observe calls tell with the leader and with every change, until it returns false.
func observe(ctx context.Context, client *clientv3.Client, p place, tell func(Leader) bool) error {
	f, leave := followers.join(client, p)
	defer leave()
	// Later, or what happens between the read and the beginning of the watch is missed.
	if err := f.begun(ctx); err != nil {
		return err
	}
	told, seen, err := awaitLeader(ctx, client, p)
	if err != nil || !tell(told) {
		return err
	}
	for next := 0; ; {
		var news []sighting
		var more <-chan struct{}
		news, next, more, err = f.from(next)
		for _, s := range news {
			switch {
			case ctx.Err() != nil:
				return attempt.Ended(ctx, nil)
			case s.revision <= seen.Revision || p.same(s.leader, told):
			case !tell(s.leader):
				return nil
			default:
				told = s.leader
			}
		}
		if err != nil {
			return err
		}
		select {
		case <-more:
		case <-ctx.Done():
			return attempt.Ended(ctx, nil)
		}
	}
}
