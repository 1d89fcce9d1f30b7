package look_test

import (
	"testing"

	"github.com/conclave-go/conclave/internal/etcdtest"
)

// With -short, slow links and large looks are left out.
func TestMain(m *testing.M) {
	etcdtest.Main(m, "OnASlowLink", "NoStreamOutlives", "LimitOfOperations", "InBatches", "AFewAtATime", "OfManyKeys", "AmongTheOthers", "OneComparisonEach")
}
