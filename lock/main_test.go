package lock_test

import (
	"flag"
	"strconv"
	"testing"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/proctest"
	"github.com/conclave-go/conclave/internal/suite"
)

func TestMain(m *testing.M) {
	proctest.Play(roles)
	flag.Parse()
	// How many a model is compared with unless -rapid.checks says otherwise.
	scenarios := suite.Long(12, 100)
	if checks := flag.Lookup("rapid.checks"); checks.Value.String() == checks.DefValue {
		if err := checks.Value.Set(strconv.Itoa(scenarios / scale)); err != nil {
			panic(err)
		}
	}
	// With -short, of each kind of lock, and of Do, Run and transactions: its main path, what it costs, whom it names, its errors.
	etcdtest.Essentials(m,
		"^Example(NewRWMutex|RWMutex_Downgrade|NewSemaphore|NewMulti|WithLocalHandoff|RequestRelease|Mutex_Do|Hold_Txn|RWMutex_TryRDo|Inspect|Fence_Check)$",
		"^TestF[3679]", "^TestF10", "^TestFence", "Token",
		"WaitersAreGrantedInTheOrder", "LockAndUnlockOfAFreeLock", "LockOfATakenLock", "TryLockSaysWho",
		"TheThirdTakesOver", "^TestWaiterLeavesTheQueue", "^TestWaiterWhoseKeyIsDeletedQueuesAgain", "HoldIsOverAfterUnlock", "HoldEndsBeforeItsKey",
		"ReadersShare", "NobodyOvertakes", "DowngradeLetsReadersIn", "DowngradeRefuses", "UpgradeIsRefusedWithout",
		"PermitsAreShared", "PermitsAreGrantedInOrder", "MultiWaitsForEach", "UnlockOfAMultiThatHasLost", "LocalHandoffsCost", "ALingeringLockIsGivenUpAsSoon",
		"RunReturns", "DoSaysThat", "DoReleasesWhen", "TxnTakesEffect", "TxnOfALostHold", "GuardIsTrue", "EveryHolderOfAShared", "InspectShowsAllKinds",
		"ResumeTakesUp", "EtcdLayoutQueues", "TheDelayOfTheLostOwner", "EventsSay",
		// Its errors and faults:
		"RefusesBad", "RefuseBad", "RefusedWithoutARequest", "IsAnError", "OutOfRange", "HaveToAgree", "WithAClosedSession", "TellsLegal",
		"UnlockSucceedsWhenItsReplies", "TryLockRecognises", "ItsLeaseWasRevoked", "KeepsItsPlaceThroughReconnects")
}
