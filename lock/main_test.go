package lock_test

import (
	"flag"
	"runtime"
	"strconv"
	"testing"

	"github.com/conclave-go/conclave/internal/etcdtest"
)

// atOnce is how many tests run at a time for each processor: most of them wait, for
// a lease to expire or for a look.
const atOnce = 4

// scenarios is how many a model is compared with unless -rapid.checks says otherwise.
const scenarios = 100

func TestMain(m *testing.M) {
	flag.Parse()
	if parallel := flag.Lookup("test.parallel"); parallel.Value.String() == strconv.Itoa(runtime.GOMAXPROCS(0)) {
		if err := parallel.Value.Set(strconv.Itoa(atOnce * runtime.GOMAXPROCS(0))); err != nil {
			panic(err)
		}
	}
	if checks := flag.Lookup("rapid.checks"); checks.Value.String() == checks.DefValue {
		if err := checks.Value.Set(strconv.Itoa(scenarios / scale)); err != nil {
			panic(err)
		}
	}
	etcdtest.Main(m)
}
