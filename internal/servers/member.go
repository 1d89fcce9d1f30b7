package servers

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/conclave-go/conclave/internal/process"
	"github.com/conclave-go/conclave/internal/smallwal"
)

// MemberRole is the role of a process that is a member of an etcd cluster.
const MemberRole = "member"

// The timing of members: an election takes half a second or more, so that a machine that
// is busy does not cause any, and the minimum TTL is a second.
const (
	tickMs     = 50
	electionMs = 500
)

// What members are told.
const (
	cutPeer   = "cut "
	mendPeers = "mend"
	losePeers = "lose " // so many percent
	stallDisk = "stall disk"
	freeDisk  = "free disk"
)

// loseEvery is how often a member on lossy links decides which messages it drops.
const loseEvery = 40 * time.Millisecond

// memberJob is what a member is told first.
type memberJob struct {
	Name      string `json:"name"`
	Dir       string `json:"dir"`
	Client    string `json:"client"` // address
	Peer      string `json:"peer"`   // what others dial
	Listen    string `json:"listen"` // where that leads
	Cluster   string `json:"cluster"`
	Token     string `json:"token"`
	Joins     bool   `json:"joins"` // a cluster that exists
	Fsync     bool   `json:"fsync"`
	Snapshots uint64 `json:"snapshots,omitempty"`
	Binary    string `json:"binary,omitempty"`
}

// memberReport is what it says.
type memberReport struct {
	ID uint64 `json:"id"` // once it serves
}

// Member is the role of a member.
func Member(ctx context.Context, line *process.Line) error {
	var j memberJob
	orders := make(chan string, 16)
	told := func(order string) { orders <- order }
	return line.Serve(ctx, &j, told, func(ctx context.Context) error {
		if j.Binary != "" {
			return j.execute()
		}
		if j.Fsync {
			smallwal.Undo()
		}
		etcd, err := embed.StartEtcd(j.config())
		if err != nil {
			return err
		}
		defer etcd.Server.HardStop() // the parent has ended, or does not need it any more
		m := &memberFaults{server: etcd.Server, disk: diskOf(etcd.Server)}
		defer m.obey(freeDisk) // which HardStop waits for
		serves, losing := etcd.Server.ReadyNotify(), time.NewTicker(loseEvery)
		defer losing.Stop()
		for {
			select {
			case <-serves:
				line.Report(memberReport{ID: uint64(etcd.Server.MemberID())})
				serves = nil
			case order := <-orders:
				m.obey(order)
			case <-losing.C:
				m.lose()
			case err := <-etcd.Err():
				return err
			case <-ctx.Done():
				return nil
			}
		}
	})
}

func (j memberJob) config() *embed.Config {
	cfg := embed.NewConfig()
	client, peer := url.URL{Scheme: "http", Host: j.Client}, url.URL{Scheme: "http", Host: j.Peer}
	cfg.Name, cfg.Dir = j.Name, j.Dir
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{{Scheme: "http", Host: j.Listen}}, []url.URL{peer}
	cfg.InitialCluster, cfg.InitialClusterToken = j.Cluster, j.Token
	cfg.StrictReconfigCheck = false // it waits until members have been connected for five seconds
	if j.Joins {
		cfg.ClusterState = embed.ClusterStateFlagExisting
	}
	if j.Snapshots > 0 {
		cfg.SnapshotCount, cfg.SnapshotCatchUpEntries = j.Snapshots, j.Snapshots
	}
	cfg.TickMs, cfg.ElectionMs = tickMs, electionMs
	cfg.UnsafeNoFsync = !j.Fsync // without, a member survives its process, not the machine
	cfg.EnableGRPCGateway = false
	encoder := zapcore.NewConsoleEncoder(zap.NewDevelopmentEncoderConfig())
	lg := zap.New(zapcore.NewCore(encoder, zapcore.Lock(os.Stderr), zapcore.PanicLevel))
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(lg)
	return cfg
}

func memberName(i int) string { return fmt.Sprintf("member%d", i+1) }
