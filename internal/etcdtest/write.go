package etcdtest

import (
	"context"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/attempt"
)

// tryTimeout bounds one attempt of a write. A member that has vanished answers none.
const tryTimeout = 5 * time.Second

// Put puts a key, once, and returns the revision of that. It is for clients whose members come to harm:
// clientv3 repeats no writes, and who simply repeats a put that has failed may write twice. Nobody else
// may write the key meanwhile.
func Put(ctx context.Context, client *clientv3.Client, key, value string, opts ...clientv3.OpOption) (int64, error) {
	var before, at int64
	err := Retry(ctx, func(ctx context.Context) error {
		resp, err := client.Get(ctx, key)
		if err == nil && len(resp.Kvs) > 0 {
			before = resp.Kvs[0].ModRevision
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("etcdtest: put %q: %w", key, err)
	}
	err = Retry(ctx, func(ctx context.Context) error {
		resp, err := client.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(key), "=", before)).
			Then(clientv3.OpPut(key, value, opts...)).Else(clientv3.OpGet(key)).Commit()
		switch {
		case err != nil:
			return err
		case resp.Succeeded:
			at = resp.Header.Revision
		case len(resp.Responses[0].GetResponseRange().Kvs) > 0: // an attempt that seemed to fail has put it
			at = resp.Responses[0].GetResponseRange().Kvs[0].ModRevision
		default:
			return errors.New("somebody else has deleted it")
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("etcdtest: put %q: %w", key, err)
	}
	return at, nil
}

// Retry calls try until it succeeds, fails for good or ctx ends. Each call of it may take five seconds, and
// one that failed may have taken effect, or may yet.
func Retry(ctx context.Context, try func(ctx context.Context) error) error {
	return attempt.Do(ctx, tryTimeout, try)
}

// retryOnce is [Retry] of what fails with done when it has been done already: after a failure it may
// have been.
func retryOnce(ctx context.Context, done error, try func(ctx context.Context) error) error {
	failed := false
	return Retry(ctx, func(ctx context.Context) error {
		err := try(ctx)
		if failed && errors.Is(err, done) {
			return nil
		}
		failed = failed || err != nil
		return err
	})
}
