package watch

import (
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// workQueue hands out keys, each to one worker at a time.
type workQueue struct {
	minPause, maxPause time.Duration

	mu      sync.Mutex
	wake    sync.Cond // there is a ready key, or the end
	ready   []string  // in the order in which they came
	tasks   map[string]*task
	stopped bool
}

// task is a key that is ready, running, waiting to be tried again, or all but the
// first of these at once.
type task struct {
	running bool
	again   bool // changed while running
	retry   *time.Timer
	failed  int   // times in a row
	err     error // of the last failure
}

func newWorkQueue(minPause, maxPause time.Duration) *workQueue {
	q := &workQueue{minPause: minPause, maxPause: maxPause, tasks: make(map[string]*task)}
	q.wake.L = &q.mu
	return q
}

// add asks for a run of key that begins after this call.
func (q *workQueue) add(key string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	t := q.tasks[key]
	switch {
	case q.stopped:
	case t == nil:
		q.tasks[key] = &task{}
		q.push(key)
	case t.running:
		t.again = true
	case t.retry != nil && t.retry.Stop():
		t.retry = nil
		q.push(key)
	}
}

// push makes key ready. mu must be held.
func (q *workQueue) push(key string) {
	q.ready = append(q.ready, key)
	q.wake.Signal()
}

// take waits for a ready key and hands it out; false once the queue is stopped.
func (q *workQueue) take() (key string, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.ready) == 0 && !q.stopped {
		q.wake.Wait()
	}
	if q.stopped {
		return "", false
	}
	key, q.ready = q.ready[0], q.ready[1:]
	q.tasks[key].running = true
	return key, true
}

// finish takes key back. It returns how often the key has failed in a row and how
// long it now waits, both 0 if it did not.
func (q *workQueue) finish(key string, err error) (failed int, pause time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	t := q.tasks[key]
	again := t.again
	t.running, t.again, t.err = false, false, err
	if err == nil {
		t.failed = 0
	} else {
		t.failed++
	}
	switch {
	case q.stopped:
	case again:
		q.push(key)
	case err != nil:
		pause = q.pause(t.failed)
		t.retry = time.AfterFunc(pause, func() { q.expire(key, t) })
	default:
		delete(q.tasks, key)
	}
	return t.failed, pause
}

// abandon takes back a key whose run was cut short by the end of everything, which
// says nothing about the key.
func (q *workQueue) abandon(key string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.tasks[key].running = false
}

// expire makes a key ready whose wait is over.
func (q *workQueue) expire(key string, t *task) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.stopped {
		t.retry = nil
		q.push(key)
	}
}

// pause returns how long to wait after that many failures: the jitter keeps keys
// that failed for one reason from coming back in step.
func (q *workQueue) pause(failed int) time.Duration {
	d := q.minPause
	for range failed - 1 {
		if d > q.maxPause/2 {
			d = q.maxPause
			break
		}
		d *= 2
	}
	return d - time.Duration(rand.Int64N(int64(d)/2+1))
}

// stop lets workers end once their present run is over, and drops the rest.
func (q *workQueue) stop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.stopped = true
	for _, t := range q.tasks {
		if t.retry != nil {
			t.retry.Stop()
		}
	}
	q.wake.Broadcast()
}

// failures returns the last errors of the keys that are not reconciled, in key order.
func (q *workQueue) failures() []error {
	q.mu.Lock()
	defer q.mu.Unlock()
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(q.tasks)) {
		if t := q.tasks[key]; t.err != nil {
			errs = append(errs, &KeyError{Key: key, Failures: t.failed, Err: t.err})
		}
	}
	return errs
}
