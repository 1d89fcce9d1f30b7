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
// Take a Stream to see every change, a Cache to look things up, Reconcile to make
// something else agree with the keys.
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
//   - Batch.Revision grows, on quiet keys too: the server is asked for it a few times
//     in every stall limit, so a stream that was up to date shortly before
//     has nothing to fear from compaction.
//   - A server that says nothing is left within the stall limit of [WithStall], one that
//     says it has no leader at once.
//   - The end of ctx ends the stream at once, also while nothing can be reached. Leaving
//     the loop ends its goroutine before the loop is left.
//
// # Stream: what is not guaranteed
//
// That a consumer is up to date: a batch is as old as the way it came. A partitioned
// stream delivers nothing, and does not say so until it is over; ask etcd where it
// matters.
//
// That history is complete after a cluster was restored from a backup. Such a stream
// ends with a [*FutureRevisionError] as long as the restored store is behind; one that
// has passed the old revision meanwhile cannot be told from the original.
//
// More than the server keeps to. Before 3.4.31 and 3.5.13 it may answer a request for
// progress too early, or not at all (etcd issues 15220 and 17507). Some later ones lose
// a deletion made at exactly the revision of a compaction, if a stream has to go on
// there (issues 18089 and 19179).
//
// # Stream: failures
//
//   - The connection breaks, a member restarts, the leader changes: invisible but for
//     the delay.
//   - A member vanishes without closing its connections, or does not answer on one
//     stream: noticed within the stall limit; the watch is opened again on another gRPC
//     stream, after a read has found a member that answers.
//   - History is compacted, before the stream or while it is down: see above. If
//     compaction overtakes the read of the state itself, that is begun again.
//   - The token of a user expires: another gRPC stream is opened, which gets a new one.
//   - The permission is missing: the stream ends with the server's error. Taken away
//     from an open watch, it is missed when the watch is next opened.
//   - The client is closed: the stream ends with an error.
//   - The consumer is too slow: see above. If the history is compacted before it has
//     caught up, that is as any compaction.
//
// # Stream: cost
//
// One goroutine, and those of clientv3 for a watch. All streams of a client share one
// gRPC stream, also with other watches that require a leader and add no
// metadata to their context; streams that had to leave it share another. Opening
// takes one round trip, and one more with a revision in the past, which the server
// catches up with every 100 ms; a snapshot takes one for each page of up to 10,000
// keys or about 4 MiB, and no wait for the server to catch up, since the watch is opened
// before the read. A quiet gRPC stream asks the server for its revision about once in two
// tenths of the stall limit, however many streams share it. Memory: the buffer, and in
// snapshot mode the name and revision of each key that exists. A snapshot is in memory
// as a whole while it is delivered.
//
// A client that limits the size of messages (MaxCallRecvMsgSize) works, but catching up
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
//     none of it concerns the cache.
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
// What ends a stream in snapshot mode ends the cache: a missing permission, a closed
// client, a store whose revision went back. Err then says so, WaitRevision and Changes end
// with it, and what the cache had stays readable.
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
// else a message to the server, which all watches on the gRPC stream share.
//
// # Reconcile
//
// [Reconcile] is the loop of a controller: it runs a function for each key of a cache
// that there is, was changed or was deleted, with a number of workers, never twice at a
// time for a key, again when the key changed meanwhile, and after a while, which grows,
// when the function failed or panicked. It is level-triggered: a run stands for any
// number of changes, so the function looks at the state and not at what happened. It keeps
// nothing: after a restart every key there is runs once, but not those deleted in
// between. Keys are reconciled by each process that runs it; an election picks one.
package watch
