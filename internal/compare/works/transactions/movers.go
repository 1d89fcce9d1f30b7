package transactions

import (
	"context"
	"strconv"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	ours "github.com/conclave-go/conclave/concurrency"
)

func moveOurs(ctx context.Context, client *clientv3.Client, from, to string) error {
	_, err := ours.NewSTM(client, func(s ours.STM) error { return transfer(s, from, to) }, ours.WithAbortContext(ctx), ours.WithPrefetch(from, to))
	return err
}

func moveOfficial(ctx context.Context, client *clientv3.Client, from, to string) error {
	_, err := concurrency.NewSTM(client, func(s concurrency.STM) error { return transfer(s, from, to) }, concurrency.WithAbortContext(ctx), concurrency.WithPrefetch(from, to))
	return err
}

// store is what both libraries give a transaction.
type store interface {
	Get(key ...string) string
	Put(key, val string, opts ...clientv3.OpOption)
}

func transfer(s store, from, to string) error {
	a, b, err := moved([]byte(s.Get(from)), []byte(s.Get(to)))
	if err != nil {
		return err
	}
	s.Put(from, a)
	s.Put(to, b)
	return nil
}

// moved returns two balances after a unit was moved.
func moved(from, to []byte) (a, b string, err error) {
	x, err := strconv.Atoi(string(from))
	if err != nil {
		return "", "", err
	}
	y, err := strconv.Atoi(string(to))
	return strconv.Itoa(x - 1), strconv.Itoa(y + 1), err
}

// moveRaw reads both in one request and writes both in another.
func moveRaw(ctx context.Context, client *clientv3.Client, from, to string) error {
	resp, err := client.Txn(ctx).Then(clientv3.OpGet(from), clientv3.OpGet(to)).Commit()
	if err != nil {
		return err
	}
	a, b, err := moved(resp.Responses[0].GetResponseRange().Kvs[0].Value, resp.Responses[1].GetResponseRange().Kvs[0].Value)
	if err != nil {
		return err
	}
	_, err = client.Txn(ctx).Then(clientv3.OpPut(from, a), clientv3.OpPut(to, b)).Commit()
	return err
}
