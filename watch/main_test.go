package watch_test

import (
	"testing"

	"github.com/conclave-go/conclave/internal/etcdtest"
)

func TestMain(m *testing.M) {
	// Left out with -short: what is random or much, what waits for a stall, what has several members or many streams.
	etcdtest.Main(m,
		"ThroughFaults", "ThatVanishes", "ThatHasVanished", "OneOfTwoMembers", "WithoutLeader", "ClosedClientEnds", "InPages",
		"ExpiredLeases", "AskTogether", "ArriveWhole", "LatestOfEachKey", "HasGoneBack", "MembersRestart", "StandsStill",
		"SharedGRPCStream", "ASharedStream", "NotTogether", "ManyCaches", "ThatShare", "OnTheGRPCStream", "AnAnswerOvertakes",
		"OneOfTheirMembers", "SlowConsumer", "MemberForOneThat", "LargeValues", "OwnWrites", "SlowLink", "GRPCStreamOutlives",
		"HasJustFailed", "WhileWritersGoOn", "WhateverIsBroken", "QuietStreams", "AnotherCluster", "OtherCluster", "LargerThan",
		"LeavingTheLoop", "NeverBehindAChange", "LessAndLess", "ThreeStallLimits",
		"AllPages", "OvertakesIt", "ResumeRevisionFresh", "RefusesForItself", "LoadTogether",
		"ABusyKey", "RebuiltStream", "ObserversHear", "FarBehind", "InKeyOrder", "MoreTimeEachTime",
		"ByAnotherGRPCStream", "ThatNobodyIterates")
}
