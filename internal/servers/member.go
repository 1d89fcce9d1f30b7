package servers

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"

	"go.etcd.io/etcd/client/pkg/v3/types"
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

const (
	cutPeer   = "cut "
	mendPeers = "mend"
)

// memberJob is what a member is told first.
type memberJob struct {
	Name    string `json:"name"`
	Dir     string `json:"dir"`
	Client  string `json:"client"` // address
	Peer    string `json:"peer"`
	Cluster string `json:"cluster"`
	Token   string `json:"token"`
	Fsync   bool   `json:"fsync"`
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
		if j.Fsync {
			smallwal.Undo()
		}
		etcd, err := embed.StartEtcd(j.config())
		if err != nil {
			return err
		}
		defer etcd.Server.HardStop() // the parent has ended, or does not need it any more
		serves := etcd.Server.ReadyNotify()
		var cut []types.ID
		for {
			select {
			case <-serves:
				line.Report(memberReport{ID: uint64(etcd.Server.MemberID())})
				serves = nil
			case order := <-orders:
				cut = obey(etcd, order, cut)
			case err := <-etcd.Err():
				return err
			case <-ctx.Done():
				return nil
			}
		}
	})
}

// obey drops messages to and from a member, or lets all pass again.
func obey(etcd *embed.Etcd, order string, cut []types.ID) []types.ID {
	if hex, ok := strings.CutPrefix(order, cutPeer); ok {
		if id, err := strconv.ParseUint(hex, 16, 64); err == nil {
			etcd.Server.CutPeer(types.ID(id))
			cut = append(cut, types.ID(id))
		}
		return cut
	}
	for _, id := range cut {
		etcd.Server.MendPeer(id)
	}
	return nil
}

func (j memberJob) config() *embed.Config {
	cfg := embed.NewConfig()
	client, peer := url.URL{Scheme: "http", Host: j.Client}, url.URL{Scheme: "http", Host: j.Peer}
	cfg.Name, cfg.Dir = j.Name, j.Dir
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	cfg.InitialCluster, cfg.InitialClusterToken = j.Cluster, j.Token
	cfg.TickMs, cfg.ElectionMs = tickMs, electionMs
	cfg.UnsafeNoFsync = !j.Fsync // without, a member survives its process, not the machine
	cfg.EnableGRPCGateway = false
	encoder := zapcore.NewConsoleEncoder(zap.NewDevelopmentEncoderConfig())
	lg := zap.New(zapcore.NewCore(encoder, zapcore.Lock(os.Stderr), zapcore.PanicLevel))
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(lg)
	return cfg
}

func memberName(i int) string { return fmt.Sprintf("member%d", i+1) }
