package election_test

import (
	"testing"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/proctest"
)

func TestMain(m *testing.M) {
	proctest.Play(proctest.Roles{"candidate": candidate, "service": service})
	// Left out with -short: what is random, what waits for leases to expire, what has several members.
	etcdtest.Main(m,
		"ArriveAndLeave", "InManyPartitions", "NeverHaveTwoLeads", "VanishedSilently", "CutOff", "FaultsOfTheCluster", "InAPartition", "OutageSucceed",
		"AfterALoss", "LostItsTerm", "LostTerms", "StoppedForLonger", "IsKilled", "ACrashedLeader", "Reaches126", "HaveToFit",
		"OneEventForEach", "SkippedQueueAgain", "ThenEveryChange", "ASlowObserver", "ItsOwnContext", "HasVanished",
		"NoWatchStream", "CredentialsAreRight", "ThatHangs", "IsTerminated")
}
