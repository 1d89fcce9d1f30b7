package redlock_test

import (
	"flag"
	"runtime"
	"strconv"
	"testing"

	"go.uber.org/goleak"

	"github.com/conclave-go/conclave/internal/redistest"
	"github.com/conclave-go/conclave/internal/tempdir"
)

// atOnce is how many tests run at a time for each processor: most of them wait.
const atOnce = 4

func TestMain(m *testing.M) {
	flag.Parse()
	if parallel := flag.Lookup("test.parallel"); parallel.Value.String() == strconv.Itoa(runtime.GOMAXPROCS(0)) {
		if err := parallel.Value.Set(strconv.Itoa(atOnce * runtime.GOMAXPROCS(0))); err != nil {
			panic(err)
		}
	}
	redistest.Quiet()
	goleak.VerifyTestMain(tempdir.Tests{M: m})
}
