package watch

import (
	"context"
	"reflect"
	"slices"
	"strconv"
	"sync/atomic"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/namespace"
	"google.golang.org/grpc/metadata"
)

// watcher opens watches on a gRPC stream of its own.
//
// clientv3 puts the watches of a [clientv3.Watcher] with the same metadata on one gRPC
// stream, and closes that when its last watch ends, unless the watch ends before the
// server has created it, also again after a lost connection: then the stream stays until
// the client is closed. Closing the Watcher ends it whatever its state. So each gRPC
// stream has a Watcher of its own.
type watcher struct {
	clientv3.Watcher
	number string
	close  func()
}

// newWatcher returns a watcher that sees what the client's does.
func newWatcher(client *clientv3.Client) watcher {
	w := watcher{Watcher: client.Watcher, number: strconv.FormatInt(lastNumber.Add(1), 10), close: func() {}}
	prefixes, ok := prefixesOf(client.Watcher)
	if !ok { // somebody else's: it alone knows what it does
		return w
	}
	own := clientv3.NewWatcher(client)
	w.Watcher, w.close = own, func() { _ = own.Close() }
	for _, prefix := range slices.Backward(prefixes) {
		w.Watcher = namespace.NewWatcher(w.Watcher, prefix)
	}
	return w
}

// prefixesOf returns the prefixes of the namespaces that a watcher is within, the
// innermost last, and whether there is nothing else around clientv3's own. A namespace
// does not tell its prefix, so it is read from the field.
func prefixesOf(w clientv3.Watcher) (prefixes []string, ok bool) {
	plain, within := reflect.TypeOf(clientv3.NewWatchFromWatchClient(nil, nil)), reflect.TypeOf(namespace.NewWatcher(nil, ""))
	for w != nil && reflect.TypeOf(w) == within {
		fields := reflect.ValueOf(w).Elem()
		prefix, inner := fields.FieldByName("pfx"), fields.FieldByName("Watcher")
		if prefix.Kind() != reflect.String || !inner.IsValid() {
			return nil, false
		}
		prefixes = append(prefixes, prefix.String())
		w, _ = reflect.TypeAssert[clientv3.Watcher](inner)
	}
	return prefixes, w != nil && reflect.TypeOf(w) == plain
}

// streamKey is metadata that nobody reads: its value is another for each watcher, so that
// also somebody else's gives each a gRPC stream of its own.
const streamKey = "conclave-watch-stream"

//nolint:gochecknoglobals // a number that is never used again, whichever client it is for
var lastNumber atomic.Int64

// context returns the context of a watch: it asks for a leader, and only cancel ends it.
func (w watcher) context(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx = clientv3.WithRequireLeader(context.WithoutCancel(ctx))
	return context.WithCancel(metadata.AppendToOutgoingContext(ctx, streamKey, w.number))
}
