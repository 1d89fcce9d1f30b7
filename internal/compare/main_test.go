package compare_test

import (
	"flag"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// The tests wait for other libraries' timeouts and use no CPU: all run at
	// once, on two cores too. Arguments are parsed later, so -parallel wins.
	if err := flag.Set("test.parallel", "16"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}
