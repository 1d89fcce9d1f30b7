package vtime_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/conclave-go/conclave/internal/tempdir"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(tempdir.Tests{M: m}) }
