package watch_test

import (
	"testing"

	"github.com/conclave-go/conclave/internal/etcdtest"
)

func TestMain(m *testing.M) {
	// With -short: streams, caches and Reconcile, what ends them, compaction, a reset.
	etcdtest.Essentials(m,
		"^Example(Stream|NewCache|Cache_Changes|Cache_WaitRevision|Reconcile|WithConflation)$", "^Fuzz", "AModel$",
		"FromNowOn", "OneKeyLeaves", "StartsAtARevision", "SnapshotIsTheState", "IsDeliveredOnce", "SnapshotOfNothing", "EndOfContext", "ClosedClient", "BadInput",
		"InTheFutureIsAnError", "CompactedStart", "IsBridgedByTheDifference", "WithoutSnapshotEnds", "AfterAReset", "LackOfPermission", "LostRepliesOfTheSnapshot",
		"BesideThePrefix", "WithContextAndCache", "StaysReadable", "CacheStops", "RefusesWrong", "ReplayTheState", "WhatItHad",
		"LastGoodOne", "PanicOfDecode", "WhileDisconnected", "OneTransaction", "RebuiltStream", "HearOfAStream",
		"EveryKeyThereIs", "OnceMoreThatChanged", "BacksOffExp", "LastErrorOfEvery", "MoreKeysThanWorkers", "APanicToTheKey", "EndsWithTheCache",
		"SilentStreamIs", "SnapshotsBegin", "FromASecondCache", "AsksForItRunsAgain", "EveryResyncPeriod")
}
