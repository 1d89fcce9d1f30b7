package concurrency_test

import (
	"testing"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/proctest"
)

func TestMain(m *testing.M) {
	proctest.Play(proctest.Roles{"holder": holder})
	// With -short: sessions, mutexes, elections and transactions, what they do beside the official package, and their errors.
	etcdtest.Essentials(m,
		"^Example", "ElectedInOrder", "LeadersSessionIsClosed", "WithAnotherValue", "TakesUpItsTerm", "ACampaignThatHasFailed", "CampaignReturns",
		"KeyIsDeletedWhileItWaits", "OvertakenLeavesNothing", "EtcdctlLocks", "InAnyOfItsKeys", "HandedOverInOrder", "IsOwnerHolds", "UnlockThatFails",
		"SessionIsClosedIsTold", "LockReturns", "ItsOwnMutexOnceMore$", "WithStrict", "TheOneBeforeHasLeft", "ALockerExcludes", "IsNotMadeAgain",
		"AnotherLeaseIsNotTaken", "IsOrphaned", "GivenUpByUnlock", "TTLIs", "AsItIs", "LeavesTheLease", "LeaseAndItsKeys", "KeysCanBeGone", "NilOrZero",
		"HaveTheValues", "KeepTheSum", "WhatItHasWritten", "WritesNothing", "BadArguments", "OfOneRevision", "RangesShow", "KeptAsJSON", "ATransactionCosts", "EveryExportedName")
}
