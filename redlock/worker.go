package redlock

import (
	"slices"
	"sync"
	"time"
)

// workers run calls to nodes, on goroutines of their own because no call of go-redis can
// be interrupted. Those that have nothing to do are kept for a while: the stack of a new
// goroutine has to grow for each call, which takes about as long as the rest of what
// this package does for it.
type workers struct {
	nodes *Nodes // count them as running

	mu     sync.Mutex
	idle   []chan job  // who has been idle for the shortest time is last
	spare  int         // how many have rested since the last look
	timer  *time.Timer // of the next look; nil while nobody rests
	closed bool
}

// job is what a worker does: one node's part in a round.
type job struct {
	round *round
	node  int
}

// lookEvery is how long it is between two looks at who has rested since the last.
const lookEvery = time.Second

// run does e in the background.
func (w *workers) run(e job) {
	next := w.call()
	if next == nil {
		next = make(chan job, 1)
		w.nodes.begin() // Close waits
		go w.work(next)
	}
	next <- e // does not block
}

// call returns a worker that rests, or nil.
func (w *workers) call() chan job {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(w.idle) - 1
	if n < 0 {
		return nil
	}
	next := w.idle[n]
	w.idle = w.idle[:n]
	w.spare = min(w.spare, n)
	return next
}

// work is a worker. It ends when it is dismissed, or finds that nobody will call it.
func (w *workers) work(next chan job) {
	defer w.nodes.end()
	for e := range next {
		e.round.visit(e.node)
		if !w.rest(next) {
			return
		}
	}
}

// rest lets others call a worker by its channel, and reports whether they may.
func (w *workers) rest(next chan job) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return false
	}
	w.idle = append(w.idle, next)
	if w.timer == nil {
		w.spare, w.timer = 0, time.AfterFunc(lookEvery, w.look)
	}
	return true
}

// look dismisses who has rested since the last look.
func (w *workers) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	w.dismiss(w.spare)
	w.spare = len(w.idle)
	if w.spare == 0 {
		w.timer = nil
		return
	}
	w.timer.Reset(lookEvery)
}

// dismiss ends the n workers that have rested longest. mu must be held.
func (w *workers) dismiss(n int) {
	for _, next := range w.idle[:n] {
		close(next)
	}
	w.idle = slices.Delete(w.idle, 0, n)
}

// close ends the workers that rest, and each of the others after its job.
func (w *workers) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	w.dismiss(len(w.idle))
	if w.timer != nil {
		w.timer.Stop()
	}
}
