package lease_test

import (
	"testing"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/proctest"
)

func TestMain(m *testing.M) {
	playService()
	proctest.Play(etcdtest.Roles())
	// Left out with -short: what is random or many, what waits for leases to expire, what has several members.
	etcdtest.Main(m,
		"ForHours", "InTwoHundredPartitions", "IsLateInMany", "TwoThousandLocks", "RaceWith",
		"QuorumWasLost", "AQuorumLost", "BeforeItsSuccessorCan", "AcknowledgedBy", "RestartOfEveryMember", "WrongSide", "VanishesInSilence",
		"WithinARound", "WhileIdle", "EveryStateInOrder", "WhenLocksComeAndGo", "WhileTheLookFails", "StaysValid", "EndsAllItsLeases",
		"DuringAPartition", "NetworkAllows", "ThatHangs", "APasswordCheckEach", "EachIsRenewed", "LastOneIsClosed",
		"UpToThreeSeconds", "Storm", "OfAnyLength", "SlowSpell", "LargeRegistrations", "LookOfLongKeys", "HotLoop", "WarnsRarely",
		"LeaseIsFull", "AThousand", "TooLarge", "LongestThatCanBe", "CostsNoTimeout", "LosesItsLease", "WhileCutOff", "TooOld",
		"RefusesOrHasVanished", "AllLeasesOfAClient", "OfManyLocks", "OneOfSeveralLeases", "MoveOfTheLeader", "DelayedPast",
		"IsMadeAgainOnAnother", "FromItsRemoval", "FoundToHaveEnded", "ShorterThanTheDeadline", "OneOfMany", "NeverMovesBackwards",
		"DoneContextStill", "AfterSuccess", "PrefixOnly", "WithLogger", "WithObserver", "KnownInDoubt", "StillRenews", "IsRefused")
}
