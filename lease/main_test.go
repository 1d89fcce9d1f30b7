package lease_test

import (
	"flag"
	"log"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/proctest"
)

// parallel is how many tests run at a time unless -parallel says otherwise: most of
// them wait for a server's seconds, not for a processor.
const parallel = "6"

func TestMain(m *testing.M) {
	proctest.Play(etcdtest.Roles())
	if !slices.ContainsFunc(os.Args, func(arg string) bool { return strings.Contains(arg, "test.parallel") }) {
		if err := flag.Set("test.parallel", parallel); err != nil {
			log.Fatal(err)
		}
	}
	etcdtest.Main(m)
}
