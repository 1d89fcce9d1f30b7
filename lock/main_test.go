package lock_test

import (
	"flag"
	"strconv"
	"testing"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/proctest"
	"github.com/conclave-go/conclave/internal/suite"
)

func TestMain(m *testing.M) {
	proctest.Play(roles)
	flag.Parse()
	// How many a model is compared with unless -rapid.checks says otherwise.
	scenarios := suite.Long(40, 100)
	if checks := flag.Lookup("rapid.checks"); checks.Value.String() == checks.DefValue {
		if err := checks.Value.Set(strconv.Itoa(scenarios / scale)); err != nil {
			panic(err)
		}
	}
	// Left out with -short: what is random, what waits for leases to expire, what has several members.
	etcdtest.Main(m,
		"Histories", "WhateverClientsOperatorsAndTheNetworkDo", "FaultsOfTheCluster", "InTwoHundredPartitions", "HasTwoHoldersInMany",
		"Cycles", "Contention", "NeverDeadlock", "NeverMoreHoldersThanPermits", "NeverWaitForMore", "InAnyKind", "MixedFleet",
		"VanishedSilently", "HasVanished", "LosesTheLeader", "PredecessorGone", "NeverCreated", "AfterAPartition", "InAPartition", "QueueOfTheDead",
		"^TestF11", "^TestF2", "WasLost$", "WasRevoked$", "LostHolder", "LeaseLoss", "HoldsCostNothing",
		"OneRelease", "OneReader", "CancelledOnTheirWay", "SharesALease", "OfTheirPrefix", "BesideAPlainOne", "MutexesOfItsNames", "ForgetsNames",
		"^ExampleWithLockDelay")
}
