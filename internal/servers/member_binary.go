package servers

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// execute replaces this process by another version of etcd. That does not end with its
// input, so the kernel has to see to it, where it can.
func (j memberJob) execute() error {
	if err := dieWithParent(); err != nil {
		return err
	}
	state := "new"
	if j.Joins {
		state = "existing"
	}
	args := []string{
		j.Binary, "--name", j.Name, "--data-dir", j.Dir,
		"--listen-client-urls", "http://" + j.Client, "--advertise-client-urls", "http://" + j.Client,
		"--listen-peer-urls", "http://" + j.Listen, "--initial-advertise-peer-urls", "http://" + j.Peer,
		"--initial-cluster", j.Cluster, "--initial-cluster-token", j.Token, "--initial-cluster-state", state,
		"--heartbeat-interval", strconv.Itoa(tickMs), "--election-timeout", strconv.Itoa(electionMs),
		"--strict-reconfig-check=false", "--log-level", "panic", "--logger", "zap", "--log-outputs", "stderr",
	}
	env := append(os.Environ(), "ETCD_UNSAFE_NO_FSYNC="+strconv.FormatBool(!j.Fsync)) // old ones do not know it
	if j.Snapshots > 0 {
		args = append(args, "--snapshot-count", strconv.FormatUint(j.Snapshots, 10))
	}
	return fmt.Errorf("%s: %w", j.Binary, syscall.Exec(j.Binary, args, env))
}

// announce says that a member of another version serves, which does not report.
func (m *member) announce(ctx context.Context, ready chan<- uint64) {
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{m.job.Client}, Logger: zap.NewNop()})
	if err != nil {
		return
	}
	defer func() { _ = client.Close() }()
	for ctx.Err() == nil {
		if id, ok := m.serves(ctx, client); ok {
			ready <- id
			return
		}
		select {
		case <-time.After(leaderPoll):
		case <-ctx.Done():
		}
	}
}

// serves asks the member for its ID, and whether it answers with a quorum behind it.
func (m *member) serves(ctx context.Context, client *clientv3.Client) (uint64, bool) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	status, err := client.Status(ctx, m.job.Client)
	if err != nil {
		return 0, false
	}
	_, err = client.Get(ctx, "\x00")
	return status.Header.MemberId, err == nil
}
