// Package watch follows keys in etcd: [Stream] delivers every change once and in
// order, [Cache] keeps a decoded copy of a prefix in memory, and [Reconcile] runs a
// function for each key that changed.
//
// # Use
//
//	for batch, err := range watch.Stream(ctx, client, "jobs/", watch.WithPrefix(), watch.WithSnapshot()) {
//		// the state first, then what changes
//	}
//
//	backends, err := watch.NewCache(ctx, client, "backends/", decode)
//	...
//	item, ok := backends.Get("backends/a")
//
//	err = watch.Reconcile(ctx, backends, func(ctx context.Context, key string) error {
//		return apply(ctx, key) // again when it fails, again when the key changes
//	})
//
// Use a Stream to see every change, a Cache to look things up or to derive something from
// all keys together ([Cache.Snapshots]), and Reconcile to make something else agree with
// the keys.
//
// # Stream: model
//
// The store has a revision that grows with each transaction. A stream stands at a
// revision: it begins now, at a given one, or with a snapshot of the state, and
// each [Batch] takes it to a later one. A batch is made of whole revisions, so keys that
// were changed in one transaction are never seen apart.
//
// A stream reads ahead of its consumer into a buffer of limited size. When the buffer is
// full, the stream gives up its watch and leaves the backlog where it is, in the server's
// history. Once half of the buffer is free, it watches again from the first revision it
// does not have. So a slow consumer costs memory neither here nor there, and holds up
// nobody else. With [WithConflation] the buffer keeps only the latest event of each key,
// and that happens later or not at all.
//
// # Stream: guarantees
//
//   - Every change after the start is delivered once, in the order of revisions, with all
//     changes of one revision in one batch: through lost connections, restarts of
//     members, elections, and messages that etcd splits.
//   - There is no silent gap. If history is missing, a stream [WithSnapshot] delivers
//     the difference in a batch marked Resync, and any other ends with a
//     [*CompactedError] after everything it has.
//   - A stream's position moves only on proof about its own watch, never because time has
//     passed, see "gRPC streams" below.
//   - Batch.Revision grows, on quiet keys too: the server is asked for it a few times
//     per stall limit, or, where a gRPC stream is shared and the store has changed, once
//     in six of them without an event, so a stream that was up to date shortly before has
//     nothing to fear from compaction.
//   - A silent server is abandoned within the stall limit of [WithStall], and one that
//     says it has no leader at once.
//   - The end of ctx ends the stream at once, even while nothing can be reached. Leaving
//     the loop ends the stream's goroutine first.
//
// # Stream: what is not guaranteed
//
// That a consumer is up to date: a batch is as old as the time it took to arrive. A
// partitioned stream delivers nothing, and does not say so until the partition is over;
// where it matters, ask etcd.
//
// That history is complete after a cluster was restored from a backup. Such a stream
// ends with a [*ClusterError]. If the restored cluster has the same ID, because it was
// given the same names, addresses and token, the stream ends with a
// [*FutureRevisionError] as long as the cluster is behind; only a cluster with the same
// ID that has since passed the old revision goes unnoticed. [WithRebuild] makes a stream
// start over instead.
//
// What the server itself does not guarantee. Before 3.4.31 and 3.5.13 it may answer a
// progress request too early, or not at all (etcd issues 15220 and 17507). Some later
// versions lose a deletion made at exactly the revision of a compaction, if a stream has
// to resume there (issues 18089 and 19179).
//
// # Stream: failures
//
//   - The connection breaks, a member restarts, the leader changes: invisible except for
//     the delay.
//   - A member vanishes without closing its connections, or does not answer on one
//     stream: noticed within half of the stall limit. Watches are then opened side by
//     side, the first at once and two more every tenth of the limit, and the first that a
//     member creates is used: however many endpoints there are, one that works is found
//     within the rest of the limit. The stream does not go back to the failed member while
//     another one answers.
//   - A member has no leader, is starting, or is a learner: another one is asked at once.
//   - A member answers, and does not come to revisions that the store has reached, as when it
//     does not apply what the others have committed: the watch is opened on another one when
//     half of the stall limit has passed since a revision became known, by a read or by what
//     other members have told this client's streams, and the member still says that it is
//     below. It is given twice as long each time, up to 32 limits, where no other one answers.
//     A member that goes on, however slowly, is not left. Only a client with several endpoints
//     reads the revision for that.
//   - No member answers for the stall limit: one Warn, with the endpoints and the reason,
//     and again after twice as long each time; the stream goes on trying.
//   - History is compacted, before the stream or while it is down: see above. If
//     compaction overtakes the read of the state itself, the read starts over.
//   - A user's token expires: what is open goes on, and the next watch that would share its
//     gRPC stream gets another one, with a new token. If five of these go on beside the
//     newest, their watches move to that.
//   - The server refuses, for lack of permission or because of a wrong password: a stream
//     that has never worked ends with the server's error. If it has worked, the refusal is
//     a Warn, and the stream goes on once the permission or password is right again. A
//     permission that is taken away is noticed when the watch is next opened.
//   - A change is larger than the client accepts: if the gRPC stream is shared, that ends all
//     watches on it. Each is then opened alone for a moment, 32 at a time, and those whose own
//     it was not go on as before. For the one whose it was, the server is first asked to split
//     its messages. If that does not help, a stream [WithSnapshot] reads the state instead, and
//     warns while it cannot; any other ends with a [*TooLargeError]. So does one that
//     cannot read the first snapshot.
//   - Another cluster answers, or the store's revision has gone back: the stream ends with
//     a [*ClusterError] or [*FutureRevisionError], or starts over [WithRebuild].
//   - The client is closed: the stream ends at once with an error.
//   - The consumer is too slow: see above. If the history is compacted before it has
//     caught up, that is like any compaction.
//
// # gRPC streams
//
// clientv3 puts watches with equal metadata on one gRPC stream, and gives an answer to a
// progress request to all of them. That includes a watch that was created, or recreated
// after a lost connection, while the answer was on its way, and whose history only comes
// after it. Believing such an answer means losing that history (etcd issue 20242). So
//
//   - each watch has its own gRPC stream, on which it alone asks, up to
//     [MaxGRPCStreams] of one client;
//   - the watches beyond that share one on which nobody asks. There only events move a
//     position, and the sign of life is a watch created on that gRPC stream. If somebody
//     waits for a revision, the same keys are watched for a moment on a separate gRPC
//     stream, of which there are up to four at a time, and no more than two for positions
//     that nobody waits for: once all of the events seen there
//     have also come by the shared one, nothing else is missing up to the answer there.
//
// A client's watches therefore need up to 37 gRPC streams, up to four more if tokens expire,
// and for a moment twice as many while members fail, since watches are then opened side by
// side, or up to 32 more after a message that was too large. That leaves room behind
// proxies that allow a hundred per connection, where everything else of a client would
// otherwise have to wait. The gRPC streams close with their last watch, whatever state
// they are in; only a [clientv3.Watcher] that is neither clientv3's own nor in one of its
// namespaces may keep one that was given up before it was open. [Progress.GRPCStreams]
// counts them. Metadata that a ctx has for outgoing calls is sent along, and watches with
// different metadata do not share.
//
// The cost of 1,000 quiet streams on one client, measured with etcd 3.4 on loopback: 24 KB
// and 3.1 goroutines each in the client; 33 gRPC streams, 6 MB, 100 goroutines and 1 % of a
// core in the server. With a gRPC stream for each it would be 53 KB and 6 goroutines, and
// 1,000 gRPC streams, 57 MB, 3,000 goroutines and 5 % of a core. In exchange, a watch that
// shares takes up to 100 ms longer to know that there is nothing new, and takes turns to
// ask.
//
// # Stream: cost
//
// One goroutine, and those of clientv3 for a watch. Opening takes one round trip; to
// resume where a watch has ended, or to start at a past revision, a server takes up to
// 100 ms more. A snapshot takes a round trip for each page, of 8 keys at first and later
// of up to 10,000 or about 4 MiB; of one client, 32 are asked for at a time. It does not wait for the server to catch up, since the
// watch is opened before the read. A quiet stream asks the server for its revision about
// five times in two stall limits. A client with several endpoints reads one key in each
// stall limit, for all its streams together, or up to five times while a WaitRevision
// waits. Memory: the buffer, and in snapshot mode the name and revision of each existing
// key. A snapshot is in memory as a whole while it is delivered.
//
// A client that limits the size of messages (MaxCallRecvMsgSize) works if the limit is
// above what the server accepts in a request (1.5 MiB by default). But catching up
// with many small events is then slow: the server takes time quadratic in their
// number to split them.
//
// # Cache: model
//
// A [Cache] is the state of a prefix at one revision, decoded, which a stream with a
// snapshot keeps up to date. [Cache.Get] looks up a key, [Cache.Snapshot] holds on to
// the state of a revision, [Cache.WaitRevision] waits for one, and [Cache.Changes]
// replays the state and then follows it.
//
// # Cache: guarantees
//
//   - The state is always that of the store at one revision, and only moves forward:
//     an older version of a key never replaces a newer one, and repeated deliveries
//     change nothing. The stream deals with disconnects, elections and compactions; the
//     cache does not notice them.
//   - Changes of a key come in order and end with the state the cache has. A consumer
//     that does not keep up misses what newer changes have replaced, and holds up
//     neither the cache nor other consumers.
//   - A value that does not decode, or makes the decode function panic, is an error of
//     its key: it is logged, and is in [Item.Err] and so in Changes. The last good value of
//     the key stays readable.
//   - WaitRevision returns once the cache has everything up to the revision, even if
//     none of it concerns the cache, and never earlier.
//   - The first of [Cache.Snapshots] is complete, and each later one is delivered once,
//     however many changes led to it.
//
// # Cache: what is not guaranteed
//
// That it is up to date. It may be behind by as long as the connection is down, and
// [Cache.Err] is nil in the meantime. [Cache.Freshness] says which state it has,
// WaitRevision makes it recent enough, and a transaction that compares Item.ModRevision
// makes sure when writing. Two calls of Get may see two revisions, but the second is
// never older.
//
// That every change is delivered: what came and went between two reads of a consumer, or
// was lost to a compaction, may be left out.
//
// # Cache: failures
//
// What ends a stream in snapshot mode also ends the cache: a closed client, and, without
// [WithRebuild], another cluster or a store whose revision went back. Err then says so,
// WaitRevision and Changes end with it, even for a revision that was reached before, and
// what the cache had stays readable. If loading fails, for example because of a missing
// permission or a value that is too large, [NewCache] returns the error.
//
// # Cache: cost
//
// Loading 100,000 keys takes about 1.5 times as long as just reading them in pages of the
// same size, and 0.7 times as long as in pages of 1,000. Get does not allocate and takes
// 0.9 to 2 times as long as a look-up in a plain map. Memory is about 1.4 times that of a
// plain map of the keys and items. A snapshot takes about a microsecond however many keys
// there are, and then the memory of what changes while it is held. A cache has one
// goroutine besides those of its stream; a consumer of Changes has none and takes less
// than a kilobyte, and the backlog of slow consumers is stored once for all of them. A
// batch of changes is applied at once, at about a microsecond per change, during which
// Get waits. WaitRevision costs nothing if the change comes by itself within two
// milliseconds. Otherwise it costs a message to the server or, if the cache shares its
// gRPC stream, a watch that is opened and closed, and up to 100 ms.
//
// # Reconcile
//
// [Reconcile] is the loop of a controller. It runs a function for each key of a cache
// that exists, has changed or was deleted, with a number of workers, but never twice at
// the same time for a key. It runs the function again if the key changed meanwhile, and,
// after a growing delay, if the function failed or panicked, or asked for it ([RunAgain]).
// Keys may also come from another cache or from anywhere else ([WithSource]), and a
// [ReconcileObserver] is told what there is to do. It is level-triggered: one run stands
// for any number of changes, so the function looks at the state and not at what happened.
// It keeps nothing: after a restart every existing key runs once, but keys deleted in
// between do not. Each process that runs it reconciles the keys; use an election to pick
// one.
package watch
