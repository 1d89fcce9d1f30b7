package lease_test

import (
	"testing"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/proctest"
)

func TestMain(m *testing.M) {
	playService()
	proctest.Play(etcdtest.Roles())
	// With -short: grants, sessions and registrations, their ends, errors and losses.
	etcdtest.Essentials(m,
		"^Example(Grant|Register|Registration_Update|WithStateListener)$",
		"GrantIsOne", "TheDefaultTTL", "LessTheDrift", "TheServersMinimum", "ItsReplyIsLost$", "GrantGivesUp", "ThenOnTheServer", "BadInput", "StatesHave",
		"ARoundIsOne", "ALiveLease", "AllWhoAsk", "CloseEndsASession", "OnAClosedClient", "UnderALiveSession", "ClientsUnderANamespace",
		"OfItsBestLease", "OfAFewKinds", "ReasonsOfErrors", "EveryObserver", "AreToldOfItsEnd", "FromTheGrantOn",
		"DoesNotKnowIsLost", "ASessionHealsAfterALoss", "RevivesNothingBefore", "FromTheSendingOfARenewal", "AfterAShortOutage",
		"RegisterReports", "RegisterPuts", "RegisterRefuses", "OncePerSession", "AfterALeaseLoss", "ATakeoverOverwrites", "EndsItsRegistrations",
		"IsFoundToHaveSucceeded", "AMalformedEndpoint", "CanBeAdopted", "^TestASessionThatDoesNotHealEnds")
}
