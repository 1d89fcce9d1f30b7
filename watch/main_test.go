package watch_test

import (
	"testing"

	"github.com/conclave-go/conclave/internal/etcdtest"
)

func TestMain(m *testing.M) {
	// Left out with -short: what is random, what waits for a stall, what has several members.
	etcdtest.Main(m,
		"ThroughFaults", "ThatVanishes", "ThatHasVanished", "OneOfTwoMembers", "WithoutLeader", "ClosedClientEnds", "InPages",
		"ExpiredLeases", "AskTogether", "ArriveWhole", "LatestOfEachKey", "HasGoneBack", "MembersRestart", "StandsStill")
}
