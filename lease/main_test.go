package lease_test

import (
	"testing"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/proctest"
)

func TestMain(m *testing.M) {
	playService()
	proctest.Play(etcdtest.Roles())
	// Left out with -short: what is random, what waits for leases to expire, what has several members.
	etcdtest.Main(m,
		"ForHours", "InTwoHundredPartitions", "IsLateInMany", "TwoThousandLocks", "RaceWith", "TakePlaceByThemselves",
		"QuorumWasLost", "AQuorumLost", "BeforeItsSuccessorCan", "AcknowledgedBy", "RestartOfEveryMember", "WrongSide", "VanishesInSilence",
		"WithinARound", "WhileIdle", "EveryStateInOrder", "WhenLocksComeAndGo", "WhileTheLookFails", "StaysValid", "EndsAllItsLeases",
		"DuringAPartition", "NetworkAllows", "ThatHangs", "APasswordCheckEach", "EachIsRenewed", "LastOneIsClosed")
}
