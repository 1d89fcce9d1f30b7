package election_test

import (
	"flag"
	"runtime"
	"strconv"
	"testing"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/proctest"
)

// atOnce is how many tests run at a time for each processor: most of them wait, for
// a lease to expire or for a look.
const atOnce = 4

func TestMain(m *testing.M) {
	proctest.Play(proctest.Roles{"candidate": candidate})
	flag.Parse()
	if parallel := flag.Lookup("test.parallel"); parallel.Value.String() == strconv.Itoa(runtime.GOMAXPROCS(0)) {
		if err := parallel.Value.Set(strconv.Itoa(atOnce * runtime.GOMAXPROCS(0))); err != nil {
			panic(err)
		}
	}
	etcdtest.Main(m)
}
