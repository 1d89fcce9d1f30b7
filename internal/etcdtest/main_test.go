package etcdtest_test

import (
	"testing"

	"github.com/conclave-go/conclave/internal/etcdtest"
)

// With -short: a cluster that starts and comes back, and each kind of fault once.
func TestMain(m *testing.M) {
	etcdtest.Essentials(m,
		"StartReturns", "RefusesImpossible", "KilledMemberComesBack", "IsolatedLeader", "MoveLeaderMovesIt", "CutHitsOneClient", "CutMember",
		"CompactForgets", "UserMayTouch", "Recorder", "DropReplies", "DroppedReply", "StreamHookDrops", "HooksNest", "PutWrites", "PutSays", "AStalledStreamIs", "PrefixIs")
}
