package redistest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
)

// loading is what a server answers that is not ready.
const loading = "LOADING Redis is loading the dataset in memory"

// embedded is a miniredis.
type embedded struct {
	cfg     config
	redis   *miniredis.Miniredis
	address string

	mu      sync.Mutex
	up      bool
	loading bool
	since   time.Time // what uptime is counted from
}

func startEmbedded(cfg config) (*embedded, error) {
	e := &embedded{cfg: cfg, redis: miniredis.NewMiniRedis()}
	e.redis.ClockTTL(true)
	var err error
	if e.address, err = onFreePort(e.redis.StartAddr); err != nil {
		return nil, fmt.Errorf("embedded node: %w", err)
	}
	e.started()
	return e, nil
}

// started notes that the server listens. It is a new one each time.
func (e *embedded) started() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.up, e.since = true, time.Now()
	e.redis.Server().SetPreHook(e.answer)
}

// answer replies to what miniredis does not know, and reports whether it did.
func (e *embedded) answer(peer *server.Peer, command string, args ...string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.loading {
		peer.WriteError(loading)
		return true
	}
	return answerInfo(peer, command, args, time.Since(e.since))
}

// answerInfo replies to INFO server, as far as this package's users read it.
func answerInfo(peer *server.Peer, command string, args []string, uptime time.Duration) bool {
	if command != "INFO" || len(args) != 1 || !strings.EqualFold(args[0], "server") {
		return false
	}
	peer.WriteBulk(fmt.Sprintf("# Server\r\nuptime_in_seconds:%d\r\n", int(uptime.Seconds())))
	return true
}

func (e *embedded) load(on bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.loading = on
}

func (e *embedded) addr() string { return e.address }

func (e *embedded) kill() error {
	e.mu.Lock()
	up := e.up
	e.up = false
	e.mu.Unlock()
	if !up {
		return nil
	}
	e.redis.Close()
	if !e.cfg.appendOnly {
		e.redis.FlushAll()
	}
	return nil
}

// restart tries until the port can be had: a process that is being started by this one
// has a copy of the old socket until its exec.
func (e *embedded) restart(ctx context.Context) error {
	for {
		err := e.redis.Restart()
		if err == nil {
			e.started()
			return nil
		}
		if !errors.Is(err, syscall.EADDRINUSE) || ctx.Err() != nil {
			return fmt.Errorf("redistest: embedded node: %w", err)
		}
		runtime.Gosched()
	}
}
