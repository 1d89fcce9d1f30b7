package smallwal_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/server/v3/storage/wal"

	"github.com/conclave-go/conclave/internal/smallwal"
)

func TestLogsAreSmallUntilThatIsUndone(t *testing.T) {
	require.EqualValues(t, 1<<20, wal.SegmentSizeBytes)
	smallwal.Undo()
	require.EqualValues(t, 64_000_000, wal.SegmentSizeBytes)
}
