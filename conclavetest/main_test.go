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

// leakVariable is set in a process that [conclavetest.Main] runs, to leaks if that is to leak.
const (
	leakVariable = "CONCLAVETEST_LEAK"
	leaks        = "a goroutine"
)

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
	if os.Getenv(leakVariable) != leaks {
		t.Skip("not the process that is to leak")
	}
	go func() { select {} }()
}

func TestMainFindsLeaks(t *testing.T) {
	t.Parallel()
	main := func(does string) (out string, err error) {
		cmd := exec.Command(os.Args[0], "-test.run=^TestLeak$")
		cmd.Env = append(os.Environ(), leakVariable+"="+does)
		b, err := cmd.CombinedOutput()
		return string(b), err
	}
	out, err := main(leaks)
	require.Error(t, err)
	require.Contains(t, out, "TestLeak", "the leak's stack")
	out, err = main("no leak")
	require.NoError(t, err, out)
}

func TestImportingStartsNothing(t *testing.T) {
	t.Parallel()
	require.Equal(t, 1, goroutinesAtInit, "the one that initializes")
}
