package queue_test

import (
	"testing"

	"github.com/conclave-go/conclave/internal/etcdtest"
)

// With -short, what waits for a silent server or for leases to expire is left out, and crowds.
func TestMain(m *testing.M) {
	etcdtest.Main(m, "EndOfALease", "OutSomeAtATime", "GoOnWaitingBehind", "IsNobodysUntil", "OnASlowLink")
}
