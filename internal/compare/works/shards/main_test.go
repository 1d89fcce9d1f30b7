package shards_test

import (
	"testing"

	"github.com/conclave-go/conclave/internal/compare/works/worktest"
)

func TestMain(m *testing.M) { worktest.Main(m) }
