package lease

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// supported are the first releases of their lines that do not revoke live leases after a
// change of a stalled leader; later lines have none that do.
//
//nolint:gochecknoglobals // never written again
var supported = map[int]int{4: 31, 5: 13}

const (
	// firstSafe is the first line 3.x of which all releases are safe.
	firstSafe = 6
	// versionTimeout bounds the question for a version.
	versionTimeout = time.Second
	// mostAsked is how many members are asked at most.
	mostAsked = 5
)

// warnOfVersion asks members for their version, in the background, and warns of one that
// is too old. Where nobody would read the warning, nobody is asked.
func (s *Session) warnOfVersion() {
	if !s.cfg.log.Enabled(s.ctx, slog.LevelWarn) {
		return
	}
	(*inner)(s).Go(func(ctx context.Context) {
		// Not cancelled by Close: clientv3 logs that.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), versionTimeout)
		defer cancel()
		members := pb.NewMaintenanceClient(s.client.ActiveConnection())
		for range min(len(s.client.Endpoints()), mostAsked) { // each goes to the next
			status, err := members.Status(ctx, &pb.StatusRequest{})
			if err == nil && tooOld(status.Version) {
				s.cfg.log.Warn("lease: etcd is too old: after a change of a stalled leader it may revoke leases that are "+
					"alive, and two may hold a lock; use 3.4.31, 3.5.13, 3.6 or later", "version", status.Version)
				return
			}
		}
	})
}

// tooOld reports whether a server of the version is not supported. Of what it cannot read
// it says nothing.
func tooOld(version string) bool {
	var major, minor, patch int
	if _, err := fmt.Sscanf(version, "%d.%d.%d", &major, &minor, &patch); err != nil || major != 3 || minor >= firstSafe {
		return false
	}
	first, line := supported[minor]
	return !line || patch < first
}
