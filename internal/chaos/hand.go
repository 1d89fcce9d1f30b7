package chaos

import (
	"cmp"
	"context"
	"fmt"
	"sync"

	"github.com/conclave-go/conclave/internal/chaos/history"
	"github.com/conclave-go/conclave/internal/chaos/worker"
	"github.com/conclave-go/conclave/internal/netfault"
	"github.com/conclave-go/conclave/internal/process"
)

// hand is one worker of a trial, and its network.
type hand struct {
	trial   *trial
	index   int
	proxies []*netfault.Proxy
	job     worker.Job

	mu      sync.Mutex
	process *process.Process
	lives   int
}

// newHand makes the worker's network. The servers are those behind addrs.
func newHand(t *trial, index int, addrs []string, j worker.Job) (*hand, error) {
	h := &hand{trial: t, index: index, job: j}
	var own []string
	for _, addr := range addrs {
		if t.arena.replica { // it has to learn that the server is another
			own = append(own, addr)
			continue
		}
		p, err := netfault.Start(addr)
		if err != nil {
			return h, err
		}
		h.proxies, own = append(h.proxies, p), append(own, p.Addr())
	}
	if t.System.onEtcd() {
		h.job.Etcd = own
	} else {
		h.job.Redis = own
	}
	return h, nil
}

// start starts the worker, under another name each time.
func (h *hand) start() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lives++
	h.job.Worker = fmt.Sprintf("w%d", h.index+1)
	if h.lives > 1 {
		h.job.Worker = fmt.Sprintf("w%d.%d", h.index+1, h.lives)
	}
	h.job.Seed += uint64(h.lives)
	h.job.Trace = h.trial.trace(h.job.Worker)
	name, log := h.job.Worker, h.trial.log
	p, err := process.Start(h.trial.Lock+" "+name, worker.Role, h.job,
		func(e history.Event) {
			e.Lock = cmp.Or(e.Lock, h.trial.Lock)
			log.Add(e)
		},
		func(detail string) {
			log.Add(history.Event{At: process.Now(), Kind: history.Exited, Worker: name, Detail: detail})
		})
	h.process = p
	return err
}

// name is what the worker is called now.
func (h *hand) name() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.job.Worker
}

func (h *hand) current() *process.Process {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.process
}

// tell gives an order. One who is gone is not told, which shows otherwise.
func (h *hand) tell(order string) { _ = h.current().Send(order) }

// each does something to all ways to the servers.
func (h *hand) each(do func(*netfault.Proxy)) {
	for _, p := range h.proxies {
		do(p)
	}
}

// heal ends what was done to the network.
func (h *hand) heal() { h.each((*netfault.Proxy).Heal) }

// reach lets the worker wait at a point, and returns the event that says that it does.
func (h *hand) reach(ctx context.Context, point string) (history.Event, error) {
	mark, name := h.trial.log.Mark(), h.name()
	if err := h.current().Send(worker.Arm(point)); err != nil { // it has ended before
		return history.Event{}, err
	}
	if h.trial.System.Shards > 0 { // it may have none, or not the one that is to wait
		h.trial.tell(worker.Give(name))
		defer h.trial.tell(worker.Give(""))
	}
	return await(ctx, h.trial.log, name, mark, func(e history.Event) bool { return e.Kind == history.Reached && e.Point == point })
}

// await returns the first event of a worker after mark that meets the condition. That it
// ends before is an error.
func await(ctx context.Context, log *history.Log, name string, mark int, cond func(history.Event) bool) (history.Event, error) {
	e, err := log.Await(ctx, mark, func(e history.Event) bool { return e.Worker == name && (e.Kind == history.Exited || cond(e)) })
	if err == nil && e.Kind == history.Exited {
		err = fmt.Errorf("%s has ended", name) // blame says how
	}
	return e, err
}

// gone reports whether the worker's process has ended.
func (h *hand) gone() bool {
	name := h.name()
	_, ok := h.trial.log.Last(func(e history.Event) bool { return e.Kind == history.Exited && e.Worker == name })
	return ok
}

// close ends the worker and its network.
func (h *hand) close() error {
	var err error
	h.heal()
	if p := h.current(); p != nil {
		err = p.Quit()
	}
	for _, p := range h.proxies {
		_ = p.Close() // always nil
	}
	return err
}
