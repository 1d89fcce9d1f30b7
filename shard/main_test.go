package shard_test

import (
	"testing"

	"github.com/conclave-go/conclave/internal/etcdtest"
)

func TestMain(m *testing.M) {
	// With -short: assignment, joining, leaving and crashing, operators, routers, errors.
	etcdtest.Essentials(m,
		"^Example(Join|Ownership_Txn|NewRouter|Move|AssignFunc|Of)$", "SharesAreEven", "TheSameInput", "ScenariosOfAn", "APinToWho", "OtherLanguages",
		"APlanInSteps", "NoMoreMovesAre", "ShardsOfTheDead", "ReturnsNonsenseIsNot", "DoesNotOverrule", "LargestPlan",
		"OneMemberOwnsAll", "MembersThatComeAndGo", "ACrashedMembers", "DoesNotReturnInTime", "JoinRefuses", "MembersMustAgree", "ANameOfALiving",
		"FailsPanics", "MovedByHand", "InspectShows", "WishesFor", "ARouterKnows", "LongerThanItsContext", "AlthoughRepliesAreLost",
		"BeforeAnybodyElse", "CloseNames", "AssignerThatIsLate",
		"WhoIsEvacuatedLosesAll", "AFrozenGroupMoves", "WithinTheGraceDoNotMove")
}
