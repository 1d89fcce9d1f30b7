package conclavetest_test

import (
	"os"
	"os/exec"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/conclavetest"
	"github.com/conclave-go/conclave/internal/etcdtest"
)

const leakVariable = "CONCLAVETEST_LEAK"

// goroutinesAtInit is counted when all that this package imports has been initialized.
var goroutinesAtInit = runtime.NumGoroutine()

func TestMain(m *testing.M) {
	if os.Getenv(leakVariable) != "" {
		conclavetest.Main(m)
	}
	// With -short: one cluster in real time and one in virtual time, each kind of fault, what awaits locks, Redis.
	etcdtest.Essentials(m,
		"^Example(StartCluster|StartRedis|Cluster_FillUp|Network_RefuseCall)$",
		"PackageComment", "Leak", "ImportingStarts", "IsForPrograms", "AreRefused", "AsAsked", "PanicsInReal", "InVirtualTimeSaysSo",
		"ACutLets", "WayToTheClient", "ResetBreaks", "AStalledWatch", "ADroppedReply", "CanBeDropped", "NotCarriedOut", "CompactForgets",
		"KnowsAtOnce", "SaysWhyItCannot", "AwaitHolder", "AwaitWaitersReturns", "AwaitFails", "WorkerStopsBeforeAnother", "HoldEndsWithItsSession", "JobsAreServed",
		"ForgottenItsKeys", "AHungNode", "OneNetworkOnly", "AreCounted", "FailTheTest")
}

// TestLeak leaves a goroutine behind in the process that TestMainFindsLeaks starts.
func TestLeak(t *testing.T) {
	if os.Getenv(leakVariable) == "" {
		t.Skip("not the process that is to leak")
	}
	go func() { select {} }()
}

func TestMainFindsLeaks(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(os.Args[0], "-test.run=^TestLeak$")
	cmd.Env = append(os.Environ(), leakVariable+"=1")
	out, err := cmd.CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "TestLeak", "the leak's stack")
}

func TestImportingStartsNothing(t *testing.T) {
	t.Parallel()
	require.Equal(t, 1, goroutinesAtInit, "the one that initializes")
}
