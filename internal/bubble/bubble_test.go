package bubble_test

import (
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/conclave-go/conclave/internal/bubble"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Without one processor, the race detector crashes here nearly always.
func TestTimersThatAreDueAtOnceDoNotCrashTheRaceDetector(t *testing.T) {
	t.Parallel()
	for range 20 {
		bubble.Test(t, func(*testing.T) {
			var group sync.WaitGroup
			for range 50 {
				group.Go(func() {
					for range 100 {
						a, b := time.NewTimer(time.Second), time.NewTimer(time.Second)
						select {
						case <-a.C:
						case <-b.C:
						}
						<-time.After(0)
					}
				})
			}
			group.Wait()
		})
	}
}
