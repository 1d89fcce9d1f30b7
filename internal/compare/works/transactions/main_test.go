package transactions_test

import (
	"testing"

	"github.com/conclave-go/conclave/internal/compare/works/transactions"
	"github.com/conclave-go/conclave/internal/compare/works/worktest"
)

func TestMain(m *testing.M) { worktest.Main(m) }

func TestEachSideOfEachWorkMeasuresWhatIsDeclared(t *testing.T) {
	worktest.Test{Works: transactions.Works()}.Run(t)
}
