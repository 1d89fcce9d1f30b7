package election_test

import (
	"testing"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/proctest"
)

func TestMain(m *testing.M) {
	proctest.Play(proctest.Roles{"candidate": candidate, "service": service})
	// With -short: campaigns, terms, observers, transfers and Run, their errors, a lost reply, a lost lease.
	etcdtest.Essentials(m,
		"^Example(Election_Run|Election_Campaign|Observe|Term_Proclaim|Term_Transfer|WithHealthCheck|Term_Txn)$",
		"OfTheirRequests", "OfOneSessionExclude", "KeyTokenAndDeadline", "GuardHolds", "CampaignFails", "BadInput", "DescribeTheQueue", "KeepsTheTerm",
		"OneWriteForEachStep", "AHandOverCosts", "NilOrZero", "ReplyIsLostTakes", "^TestF4", "UntilItSucceeds", "IsRefusedWithAHealth",
		"ResumeTakesUp", "ItsContextsError", "EndsVisibly", "ASupersededLeader", "AreToldOf$",
		"LeadReturnsAndResigns", "DerivesFromRuns", "ErrorBesides", "WhenLeadPanics", "APauseThatGrows", "HasHadItsTerms",
		"TheNextSkips", "WhomDoesNotWait", "SaysWhy", "SucceededWhenTheReply", "ACandidateThatWaits")
}
