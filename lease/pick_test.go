package lease_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/conclave-go/conclave/lease"
)

// A renewal goes out on the stream that is most likely to answer.
func TestARenewalGoesOutOnTheStreamThatAnswers(t *testing.T) {
	t.Parallel()
	const patience, s = time.Second, time.Second
	for name, tt := range map[string]struct {
		streams []lease.Stream
		picked  int
		left    []int
	}{
		"the one that has answered last": {[]lease.Stream{{Heard: 2 * s}, {Heard: s}}, 1, []int{0, 1}},
		"not one that is late with another's": {
			[]lease.Stream{{Heard: 2 * s, Owes: 2, Since: 2 * s}, {Heard: 3 * s}}, 1, []int{0, 1},
		},
		"one that owes another's, and is not late": {
			[]lease.Stream{{Heard: s, Owes: 2, Since: s / 2}, {Heard: 3 * s}}, 0, []int{0, 1},
		},
		"not one that owes the lease an answer":      {[]lease.Stream{{Heard: s, Owes: 1, Since: s / 2}, {Heard: 3 * s}}, 1, []int{0, 1}},
		"a new one if each owes the lease an answer": {[]lease.Stream{{Heard: s, Owes: 1, Since: s / 2}}, -1, []int{0}},
		"of four that are silent, the oldest stays": {
			[]lease.Stream{{3 * s, 1, 3 * s}, {3 * s, 2, 3 * s}, {2 * s, 1, 2 * s}, {2 * s, 2, 2 * s}}, -1, []int{0, 2, 3},
		},
		"not one that was not used for long": {[]lease.Stream{{Heard: 2 * time.Minute}, {Heard: s}}, 1, []int{1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, err := clientv3.New(clientv3.Config{Endpoints: []string{"127.0.0.1:1"}, Logger: zap.NewNop()}) // nobody is there
			require.NoError(t, err)
			picked, left := lease.Pick(client, tt.streams, 1, patience)
			require.NoError(t, client.Close())
			require.Equal(t, tt.picked, picked)
			require.Equal(t, tt.left, left)
		})
	}
}
