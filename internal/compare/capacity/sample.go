package capacity

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// sample is the state of the client process and the server at a moment. What only grows
// is a total.
type sample struct {
	at time.Time

	memory, goroutines          float64
	requests, traffic, ownCPU   float64 // totals; CPU in seconds
	rss, store                  float64
	cpu, entries, wal, revision float64 // totals
}

// take collects garbage and looks.
func (r *rig) take(ctx context.Context) (sample, error) {
	runtime.GC()
	runtime.GC() // finalizers of the first free more
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	s := sample{
		at:         time.Now(),
		memory:     float64(m.HeapInuse + m.StackInuse),
		goroutines: float64(runtime.NumGoroutine()),
		requests:   float64(r.requests.Load()),
		traffic:    float64(r.bytes.Load()),
		ownCPU:     ownCPU(),
	}
	address := r.etcd.Endpoints()[0]
	status, err := r.etcd.Client().Status(ctx, address)
	if err != nil {
		return sample{}, err
	}
	shown, err := metrics(ctx, address)
	if err != nil {
		return sample{}, err
	}
	for _, name := range []string{serverCPU, serverRSS, serverWAL} {
		if _, ok := shown[name]; !ok {
			return sample{}, fmt.Errorf("capacity: etcd does not show %s here", name)
		}
	}
	s.store, s.entries, s.revision = float64(status.DbSizeInUse), float64(status.RaftAppliedIndex), float64(status.Header.Revision)
	s.cpu, s.rss, s.wal = shown[serverCPU], shown[serverRSS], shown[serverWAL]
	return s, nil
}

// ownCPU returns the CPU seconds of this process, 0 where the system does not tell.
func ownCPU() float64 {
	const (
		ticks      = 100 // a second, on every Linux
		user       = 11  // fields after the name of the program, which may have spaces
		system     = 12
		nameCloses = ") "
	)
	stat, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(stat), nameCloses)
	var sum float64
	for i, field := range strings.Fields(rest) {
		if i == user || i == system {
			n, _ := strconv.ParseFloat(field, 64)
			sum += n
		}
	}
	return sum / ticks
}
