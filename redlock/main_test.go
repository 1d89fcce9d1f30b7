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
	// Left out with -short: crowds, what takes minutes of virtual time, each fault on each node, what has whole clusters or certificates.
	goleak.VerifyTestMain(suite.Of(m,
		"ACrowdOf", "GrowingDistance", "RenewalsCanBeConfirmed", "SlowerThanTheNodeTimeout", "AboutOnceASecond", "ColdPools", "ThatGiveUpCost",
		"NotToldCosts", "VotesThatWere", "BetweenTwoSubscriptions", "HandoversDoNot", "ThatFailsChanges", "ThatFailsStops", "IsSlowOrLoses",
		"ThatForgetsEnds", "ThatWasDownIsRemoved", "IsANode", "ThatHangs", "ThatHung", "HasFailedOver", "HasMadeAReplica", "MoveOfItsSlot",
		"ServerOfACluster", "BeginWithThePrefix", "OverTLS", "DoesNotTrust", "ThatIsDenied", "MayNotBePublished", "IsTerminatedWhile"))
}
