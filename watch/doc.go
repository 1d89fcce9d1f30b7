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
// Take a Stream to see every change, a Cache to look things up or to derive something from
// all keys together ([Cache.Snapshots]), Reconcile to make something else agree with the
// keys.
//
// # Stream: model
//
// The store has a revision that grows with each transaction. A stream stands at a
// revision, beginning now, at one that is given, or with a snapshot of the state, and
// each [Batch] takes it to a later one. A batch is made of whole revisions, so keys that
// were changed in one transaction are never seen apart.
//
// A stream reads ahead of its consumer into a buffer of limited size. When that is full
// it gives up its watch, lets the backlog be where it is, in the server's
// history, and watches again from the first revision it does not have once half of the
// buffer is free: a slow consumer costs memory neither here nor there, and holds up
// nobody else. With [WithConflation] the buffer keeps only the latest event of each key,
// and that happens later or not at all.
//
// # Stream: guarantees
//
//   - Every change after the start is delivered once, in the order of revisions, all
//     of one revision in one batch: through lost connections, restarts of
//     members, elections, and messages that etcd divides.
//   - There is no silent gap. If history is missing, a stream [WithSnapshot] delivers
//     the difference in a batch marked Resync, and any other ends with a
//     [*CompactedError] after everything it has.
//   - A stream's position moves only by what provably speaks of its own watch, never by
//     the time that has passed, see "gRPC streams" below.
//   - Batch.Revision grows, on quiet keys too: the server is asked for it a few times
//     in every stall limit, or once in six of them where a gRPC stream is shared, so a
//     stream that was up to date shortly before has nothing to fear from compaction.
//   - A server that says nothing is left within the stall limit of [WithStall], one that
//     says it has no leader at once.
//   - The end of ctx ends the stream at once, also while nothing can be reached. Leaving
//     the loop ends its goroutine before the loop is left.
//
// # Stream: what is not guaranteed
//
// That a consumer is up to date: a batch is as old as the time it took to arrive. A partitioned
// stream delivers nothing, and does not say so until it is over; ask etcd where it
// matters.
//
// That history is complete after a cluster was restored from a backup. Such a stream
// ends with a [*ClusterError], or, if the restored cluster has the same ID because it was
// given the same names, addresses and token, with a [*FutureRevisionError] as long as it is
// behind; only one of the same ID that has passed the old revision meanwhile goes
// unnoticed. [WithRebuild] has a stream begin anew instead.
//
// What the server itself does not keep. Before 3.4.31 and 3.5.13 it may answer a request for
// progress too early, or not at all (etcd issues 15220 and 17507). Some later ones lose
// a deletion made at exactly the revision of a compaction, if a stream has to go on
// there (issues 18089 and 19179).
//
// # Stream: failures
//
//   - The connection breaks, a member restarts, the leader changes: invisible but for
//     the delay.
//   - A member vanishes without closing its connections, or does not answer on one
//     stream: noticed within half of the stall limit. Watches are then opened beside one
//     another, the first at once and two more every tenth of the limit, and the first that a
//     member creates is taken: however many endpoints there are, one that works is found
//     within the rest of the limit. The member that has failed is not gone back to while
//     another one answers.
//   - A member has no leader, is starting, or is a learner: another one is asked at once.
//   - No member answers for the stall limit: one Warn, with the endpoints and the reason,
//     and again after twice as long each time; the stream goes on trying.
//   - History is compacted, before the stream or while it is down: see above. If
//     compaction overtakes the read of the state itself, that is begun again.
//   - The token of a user expires: another gRPC stream is opened, which gets a new one.
//   - The server refuses, as without permission or with a wrong password: the stream ends
//     with the server's error if it has never worked. If it has, the refusal is a Warn, and
//     the stream goes on once what was missing is back. A permission that is taken away
//     is missed when the watch is next opened.
//   - A change is larger than the client accepts: first the server is asked to divide its
//     messages; where that does not help a stream [WithSnapshot] reads the state instead, and
//     warns while it cannot, and any other ends with a [*TooLargeError]. So does one that
//     cannot read the first snapshot.
//   - Another cluster answers, or the store's revision has gone back: the stream ends with
//     a [*ClusterError] or [*FutureRevisionError], or begins anew [WithRebuild].
//   - The client is closed: the stream ends at once with an error.
//   - The consumer is too slow: see above. If the history is compacted before it has
//     caught up, that is as any compaction.
//
// # gRPC streams
//
// clientv3 puts watches with equal metadata on one gRPC stream, and gives an answer to a
// request for progress to all of them: also to one that was made, or made again after a
// lost connection, while the answer was on its way, and whose history comes only after it.
// To believe such an answer is to lose that history (etcd issue 20242). So
//
//   - each watch has a gRPC stream of its own, on which it alone asks: of one client up to
//     [MaxGRPCStreams];
//   - the watches beyond that share one on which nobody asks. There only events move a
//     position, and a sign of life is a watch that is created on the gRPC stream. If somebody
//     waits for a revision, the same keys are watched for a moment on a gRPC stream of
//     their own, of which there are up to four at a time: once all of the events seen there
//     have come by the shared one, too, nothing else is missing up to the answer there.
//
// A client's watches therefore need up to 37 gRPC streams, and while members fail, since
// watches are then opened beside one another, twice as many for a moment. That leaves room
// behind proxies that allow a hundred on a connection, with which everything else of a
// client would have to wait. The gRPC streams close with their last watch, whatever state
// they are in; only a [clientv3.Watcher] that is neither clientv3's own nor in one of its
// namespaces may keep one that was given up before it was open. [Progress.GRPCStreams]
// counts them. Metadata that a ctx has for outgoing calls is sent along, and watches with
// other metadata do not share.
//
// What 1,000 quiet streams on one client cost, measured with etcd 3.4 on loopback: 24 KB and
// 3.1 goroutines each in the client; 33 gRPC streams, 6 MB, 100 goroutines and 1 % of a core
// in the server. With a gRPC stream for each it would be 53 KB and 6 goroutines, and 1,000
// gRPC streams, 57 MB, 3,000 goroutines and 5 % of a core. In exchange a watch that shares
// takes up to 100 ms longer to know that there is nothing new, and asks by turns.
//
// # Stream: cost
//
// One goroutine, and those of clientv3 for a watch. Opening takes one round trip; to go on
// where a watch has ended, and with a revision in the past, a server takes up to 100 ms
// more. A snapshot takes a round trip for each page, of 8 keys at first, and of up to
// 10,000 or about 4 MiB later, and no wait for the server to catch up, since the watch is
// opened before the read. A quiet stream asks the server for its revision about five times
// in two stall limits. Memory: the buffer, and in
// snapshot mode the name and revision of each key that exists. A snapshot is in memory
// as a whole while it is delivered.
//
// A client that limits the size of messages (MaxCallRecvMsgSize) works if the limit is
// above what the server accepts in a request (1.5 MiB by default), but catching up
// with many small events is then slow: the server takes time quadratic in their
// number to divide them.
//
// # Cache: model
//
// A [Cache] is the state of a prefix at one revision, decoded, which a stream with a
// snapshot keeps moving on. [Cache.Get] looks up a key, [Cache.Snapshot] holds on to
// the state of a revision, [Cache.WaitRevision] waits for one, and [Cache.Changes]
// replays the state and then follows it.
//
// # Cache: guarantees
//
//   - The state is always that of the store at one revision, and goes forward only:
//     an older version of a key never replaces a newer one, and what is delivered again
//     changes nothing. Disconnects, elections and compactions are the stream's business
//     and not noticed.
//   - Changes of a key come in order and end with the state the cache has. A consumer
//     that does not keep up misses what newer changes have replaced, and holds up
//     neither the cache nor other consumers.
//   - A value that does not decode, or makes the decode function panic, is an error of
//     its key: logged, in [Item.Err] and so in Changes. The last good value of the key
//     stays readable.
//   - WaitRevision returns once the cache has everything up to the revision, also when
//     none of it concerns the cache, and never earlier.
//   - The first of [Cache.Snapshots] is complete, and each later one is told once, however
//     many changes led to it.
//
// # Cache: what is not guaranteed
//
// That it is up to date. It may be behind by as long as the connection is away, and
// [Cache.Err] is nil meanwhile; [Cache.Freshness] says which state it has, WaitRevision
// makes it recent enough, and a transaction that compares Item.ModRevision makes sure
// when writing. Two calls of Get may see two revisions, the second not the older one.
//
// That every change is told: what came and went between two looks of a consumer, or
// was lost to a compaction, may be left out.
//
// # Cache: failures
//
// What ends a stream in snapshot mode ends the cache: a closed client, and, but for
// [WithRebuild], another cluster or a store whose revision went back. Err then says so,
// WaitRevision and Changes end with it, also for a revision that was reached before, and
// what the cache had stays readable. What fails while the cache is loaded, such as a missing
// permission or a value that is too large, is an error of [NewCache].
//
// # Cache: cost
//
// Loading 100,000 keys takes about 1.5 times as long as reading them raw in pages as
// large, and 0.7 times as long as in pages of 1,000. Get does not allocate and takes 0.9 to 2
// times as long as a look-up in a plain map. Memory is about 1.4 times that of a plain map
// of the keys and items. A snapshot takes about a microsecond however many keys there
// are, and then the memory of what changes while it is held. A cache has one goroutine
// besides those of its stream; a consumer of Changes has none and takes less than a
// kilobyte, and what waits for slow consumers is stored once for all of them. A batch
// of changes is put in place at once, at about a microsecond per change, for which Get waits.
// WaitRevision costs nothing if the change comes by itself within two milliseconds, and
// else a message to the server, or where the cache shares its gRPC stream a watch that is
// opened and closed, and up to 100 ms.
//
// # Reconcile
//
// [Reconcile] is the loop of a controller: it runs a function for each key of a cache
// that there is, was changed or was deleted, with a number of workers, never twice at a
// time for a key, again when the key changed meanwhile, and after a while, which grows,
// when the function failed or panicked, or asked for it ([RunAgain]). Keys may also come
// from another cache or from anywhere else ([WithSource]), and a [ReconcileObserver] is told
// what there is to do. It is level-triggered: a run stands for any
// number of changes, so the function looks at the state and not at what happened. It keeps
// nothing: after a restart every key there is runs once, but not those deleted in
// between. Keys are reconciled by each process that runs it; an election picks one.
package watch
