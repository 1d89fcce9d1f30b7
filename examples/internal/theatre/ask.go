package theatre

import (
	"context"
	"io"
	"net/http"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/election"
	"github.com/conclave-go/conclave/lock"
)

// Leader returns the token of the leader of an election, as etcd has it.
func Leader(name string) func(context.Context, *clientv3.Client) (lock.Token, error) {
	return func(ctx context.Context, client *clientv3.Client) (lock.Token, error) {
		leader, err := election.Current(ctx, client, name)
		return leader.Token, err
	}
}

// Holder returns the token of the holder of a lock, as etcd has it.
func Holder(name string) func(context.Context, *clientv3.Client) (lock.Token, error) {
	return func(ctx context.Context, client *clientv3.Client) (lock.Token, error) {
		entries, err := lock.Inspect(ctx, client, name)
		if len(entries) == 0 {
			return 0, err
		}
		return entries[0].Token, err
	}
}

// Request makes a request of a copy, and returns the status and the text of the answer.
func Request(ctx context.Context, method, url string, body io.Reader) (status int, text string, err error) {
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return 0, "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }() // it was only read
	answer, err := io.ReadAll(resp.Body)
	return resp.StatusCode, strings.TrimSpace(string(answer)), err
}
