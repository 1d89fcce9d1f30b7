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
	scenarios := suite.Long(12, 100)
	if checks := flag.Lookup("rapid.checks"); checks.Value.String() == checks.DefValue {
		if err := checks.Value.Set(strconv.Itoa(scenarios / scale)); err != nil {
			panic(err)
		}
	}
	// Left out with -short. What is random:
	etcdtest.Main(m,
		"Histories", "WhateverClientsOperatorsAndTheNetworkDo", "InTwoHundredPartitions", "HasTwoHoldersInMany", "AfterAPartition", "APartitionReturnsAtOnce",
		"Contention", "NeverDeadlock", "DeadlocksWhere", "NeverMoreHoldersThanPermits", "NeverWaitForMore", "MixedFleet", "CancelledOnTheirWay",
		"VeryMomentOfTheGrant", "OutlivesItsLastWatch", "StreamOfReaders", "DelaysTheOthers",
		// What has several members, or a server or process of its own that ends:
		"FaultsOfTheCluster", "VanishedSilently", "HasVanished", "LosesTheLeader", "ChangeOfLeader", "ServerIsGone", "IsTerminated", "ThroughCompaction",
		// What waits for leases to expire, or for their rounds:
		"AfterTheHolderEnds", "BeforeItEnds", "InAPartition", "QueueOfTheDead", "LostHolder", "LeaseLoss", "^TestF11", "^TestF2",
		"PredecessorGone", "NeverCreated", "WakeUpReadIsLost", "GoesToo", "AtTheNextLook", "GivenUpIsUndone",
		"OnlyLivesOn", "SharesALease", "OfTheirPrefix", "HoldsCostNothing", "^ExampleWithLockDelay",
		// What does the same many times, or in many ways:
		"Cycles", "ToAHundred", "ToEachReader", "OneReader", "Crowd", "ManyWhoTry", "MutexesOfItsNames", "ForgetsNames", "HoweverOften", "BesideAPlainOne",
		"OfAllKinds", "InPairs", "EntryWhenRepliesAreLost", "NextHolderWaits", "KeepsHoldersApart", "DelaysOfItsNames", "NamesALostOwner", "TakesAnyPrefix",
		"KeepsItsDeadline", "BlocksForARound", "NotTakenAtTheDeadline", "NoLeaseIsGranted", "AnotherNumberOfPermits")
}
