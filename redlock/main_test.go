package redlock_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/conclave-go/conclave/internal/proctest"
	"github.com/conclave-go/conclave/internal/redistest"
	"github.com/conclave-go/conclave/internal/suite"
)

// roles are what this test binary can be in other processes.
var roles = proctest.Roles{}

func TestMain(m *testing.M) {
	proctest.Play(roles)
	redistest.Quiet()
	// With -short: the main path of locks, waiting and renewal, their errors, and faults of a minority.
	goleak.VerifyTestMain(suite.Essentials(m,
		"^Example(Mutex_Do|Mutex_Lock|Mutex_TryLock|QuorumError|Hold_Extend|NewNodes)$",
		"HoldersExclude", "UntilItIsUnlocked", "BeforeTheFirstRequest", "SaysForHowLong", "NotAString", "ThatIsDoneFails", "WaitingEnds", "WakesOneWaiter",
		"DoEndsItsContext", "DoSays", "RunKeeps", "WithEndsWith", "DifferentNames", "AreRefused", "IsAnError", "CannotBeCompared", "StatesHave",
		"CloseEndsHolds", "LossesAre", "ComesInPairs", "KeysHaveThePrefix", "ManyExtend", "AKeyOfAnotherIs", "ForgotTheScripts", "ARestartedServer",
		"ALostReplyDoes", "ARefusalForGood", "AReleaseWhoseReply", "EveryThirdOfATTL", "ThatCannotBeRenewed",
		"AHungMinority", "ReachesAWaiter", "AfterTheKeysExpire", "BelowTheMinimumUptime", "TheDriftAllowance", "ForTheGracePeriod"))
}
