// Command ledger is a small service as people write them with etcd's own package: one of
// its instances leads, each books entries under a lock and keeps a balance in transactions.
//
// Usage: ledger ENDPOINT PREFIX NAME ENTRIES
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.uber.org/zap"
)

func main() {
	if err := run(os.Args[1], os.Args[2], os.Args[3], os.Args[4]); err != nil {
		fmt.Fprintln(os.Stderr, "ledger:", err)
		os.Exit(1)
	}
}

func run(endpoint, prefix, name, entries string) error {
	count, err := strconv.Atoi(entries)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, DialTimeout: 5 * time.Second, Logger: zap.NewNop()})
	if err != nil {
		return err
	}
	defer client.Close()
	session, err := concurrency.NewSession(client, concurrency.WithTTL(10))
	if err != nil {
		return err
	}
	defer session.Close()

	mutex := concurrency.NewMutex(session, prefix+"/lock/")
	for range count {
		if err := book(ctx, client, mutex, prefix, name); err != nil {
			return err
		}
	}

	election := concurrency.NewElection(session, prefix+"/leader")
	if err := election.Campaign(ctx, name); err != nil {
		return err
	}
	leader, err := election.Leader(ctx)
	if err != nil {
		return err
	}
	fmt.Println("led by", string(leader.Kvs[0].Value))
	return election.Resign(ctx)
}

// book appends an entry: read, then write, which only the lock keeps together; and adds it
// to the balance.
func book(ctx context.Context, client *clientv3.Client, mutex *concurrency.Mutex, prefix, name string) error {
	if err := mutex.Lock(ctx); err != nil {
		return err
	}
	defer mutex.Unlock(context.WithoutCancel(ctx))
	resp, err := client.Get(ctx, prefix+"/entries")
	if err != nil {
		return err
	}
	var entries string
	if len(resp.Kvs) > 0 {
		entries = string(resp.Kvs[0].Value)
	}
	txn, err := client.Txn(ctx).If(mutex.IsOwner()).Then(clientv3.OpPut(prefix+"/entries", entries+name+" ")).Commit()
	switch {
	case err != nil:
		return err
	case !txn.Succeeded:
		return fmt.Errorf("%s lost the lock %s", name, mutex.Key())
	}
	_, err = concurrency.NewSTM(client, func(stm concurrency.STM) error {
		balance, _ := strconv.Atoi(stm.Get(prefix + "/balance"))
		stm.Put(prefix+"/balance", strconv.Itoa(balance+1))
		return nil
	}, concurrency.WithAbortContext(ctx))
	return err
}
