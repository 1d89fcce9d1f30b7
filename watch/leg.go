package watch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// errEnded says that a watch ended without a word.
var errEnded = errors.New("the watch ended without a reason")

// leg is one watch.
//
// What moves a position is what provably speaks of this watch and no other. Events carry
// the watch's number, but an answer to a request for progress does not: clientv3 gives it
// to every watch on the gRPC stream, also to one that was made, or made again after a lost
// connection, while the answer was on its way, and whose history comes only after it. So
// only a watch that is alone on its gRPC stream may ask. There nothing is asked before the
// watch is created; after a lost connection clientv3 creates it again before it passes on
// another request; and a server answers only when the watch has caught up, after all its
// events. So an answer proves that there is no event up to its revision but those received
// before. On a shared gRPC stream nobody asks, and only events move a position, and the
// answer to a question on another stream, see confirm.
type leg struct {
	ctx       context.Context // of the watch; only close ends it
	cancel    context.CancelFunc
	line      *line
	responses clientv3.WatchChan
	created   *pb.ResponseHeader // of the member that has created the watch, as it was then
	revision  int64              // it began at this revision, 0: at created's
}

// newLeg returns a leg on a line, which is its to leave, that is still to be created.
func newLeg(ctx context.Context, l *line, revision int64) *leg {
	w := &leg{line: l, revision: revision}
	w.ctx, w.cancel = l.context(ctx)
	return w
}

// create opens the watch and waits until the server has created it, or close is called.
func (w *leg) create(key string, opts []clientv3.OpOption) error {
	opts = append(opts, clientv3.WithCreatedNotify(), clientv3.WithRev(w.revision))
	w.responses = w.line.Watch(w.ctx, key, opts...)
	select {
	case resp, ok := <-w.responses:
		switch {
		case !ok, resp.Err() == nil && !resp.Created:
			return errEnded
		case resp.Err() != nil:
			return fmt.Errorf("the server refused the watch: %w", resp.Err())
		}
		w.created = resp.Header
		w.line.hear(resp.Header)
		return nil
	case <-w.ctx.Done():
		return w.ctx.Err()
	}
}

// ask asks the server for its revision. There is no answer while the watch has not caught
// up with the store. While clientv3 looks for another connection it does not take the
// request, for which nobody waits longer than timeout.
func (w *leg) ask(ctx context.Context, timeout time.Duration) {
	ask, cancel := context.WithTimeout(w.ctx, timeout)
	defer cancel()
	stop := context.AfterFunc(ctx, cancel)
	defer stop()
	_ = w.line.RequestProgress(ask) // a failure shows as silence, or as the end of the watch
}

// prod has the server show on a shared line that it is alive, by the creation of another
// watch or its refusal, unless it has just done so. It says nothing about the position.
func (w *leg) prod(ctx context.Context, key string, within time.Duration) *sign {
	if s := w.line.lives(within); s != nil {
		return s
	}
	watch, cancel := context.WithCancel(w.ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, cancel)
	defer stop()
	switch resp, ok := <-w.line.Watch(watch, key, clientv3.WithCreatedNotify()); {
	case !ok:
		return nil
	case refusedFor(resp.Err(), rpctypes.ErrInvalidAuthToken, rpctypes.ErrAuthOldRevision, rpctypes.ErrUserEmpty):
		w.line.refuse()
		w.line.streams.replace(w.line) // it keeps the token that it was opened with
	case refusedFor(resp.Err(), rpctypes.ErrPermissionDenied):
		w.line.refuse()
	case resp.Created:
		w.line.hear(resp.Header)
	}
	return w.line.lives(within)
}

// refusedFor reports whether the server has refused a watch for one of some reasons, of which
// clientv3 passes on only the text.
func refusedFor(err error, reasons ...error) bool {
	return err != nil && slices.ContainsFunc(reasons, func(reason error) bool { return strings.Contains(err.Error(), reason.Error()) })
}

// close ends the watch, and its gRPC stream if it was the last on it.
func (w *leg) close() {
	w.cancel()
	w.line.leave()
}
