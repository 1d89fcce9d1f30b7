package watch

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// maxFailures is how many keys that failed are told of one by one at the end.
	maxFailures = 10
	// ownChange is for how long after a failure a change of the key may be the failed
	// run's own, which must not make it run again: it would, forever and without a pause.
	ownChange = time.Second
)

// workQueue hands out keys, each to one worker at a time.
type workQueue struct {
	minPause, maxPause time.Duration

	mu      sync.Mutex
	wake    sync.Cond // there is a ready key, or the end
	ready   []string  // in the order in which they came
	tasks   map[string]*task
	running int
	retries int64 // how many runs were due to a failure
	stopped bool
}

// task is a key that is ready, running, waiting to run again, or all but the
// first of these at once.
type task struct {
	since   time.Time // when it became ready
	running bool
	again   bool        // changed while running
	later   *time.Timer // makes it ready
	failed  int         // times in a row
	ended   time.Time   // when it did last
	err     error       // of the last failure
}

func newWorkQueue(minPause, maxPause time.Duration) *workQueue {
	q := &workQueue{minPause: minPause, maxPause: maxPause, tasks: make(map[string]*task)}
	q.wake.L = &q.mu
	return q
}

// add asks for a run of key that begins after this call, at once unless the key has just
// failed.
func (q *workQueue) add(key string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	t := q.tasks[key]
	switch {
	case q.stopped:
	case t == nil:
		t = &task{}
		q.tasks[key] = t
		q.push(key, t)
	case t.running:
		t.again = true
	case t.later != nil && (t.failed == 0 || time.Since(t.ended) >= ownChange) && t.later.Stop():
		t.later = nil
		q.push(key, t)
	}
}

// push makes key ready. mu must be held.
func (q *workQueue) push(key string, t *task) {
	t.since = time.Now()
	q.ready = append(q.ready, key)
	q.wake.Signal()
}

// take waits for a ready key and hands it out, with how long it was ready; false once the
// queue is stopped.
func (q *workQueue) take() (key string, waited time.Duration, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.ready) == 0 && !q.stopped {
		q.wake.Wait()
	}
	if q.stopped {
		return "", 0, false
	}
	key, q.ready = q.ready[0], q.ready[1:]
	t := q.tasks[key]
	t.running = true
	q.running++
	if t.failed > 0 {
		q.retries++
	}
	return key, time.Since(t.since), true
}

// finish takes key back, to run again after a time if that is not negative. It returns how
// often the key has failed in a row and how long it now waits therefore, both 0 if it did
// not.
func (q *workQueue) finish(key string, err error, after time.Duration) (failed int, pause time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	t := q.tasks[key]
	again := t.again
	t.running, t.again, t.err = false, false, err
	q.running--
	if err == nil {
		t.failed = 0
	} else {
		t.failed++
		t.ended = time.Now()
		pause = q.pause(t.failed)
	}
	switch {
	case q.stopped:
	case err != nil:
		q.wait(key, t, pause)
	case again:
		q.push(key, t)
	case after >= 0:
		q.wait(key, t, after)
	default:
		delete(q.tasks, key)
	}
	return t.failed, pause
}

// wait makes key ready after d. mu must be held.
func (q *workQueue) wait(key string, t *task, d time.Duration) {
	t.later = time.AfterFunc(d, func() { q.expire(key, t) })
}

// abandon takes back a key whose run was cut short by the end of everything, which
// says nothing about the key.
func (q *workQueue) abandon(key string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.tasks[key].running = false
	q.running--
}

// expire makes a key ready whose wait is over.
func (q *workQueue) expire(key string, t *task) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.stopped {
		t.later = nil
		q.push(key, t)
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
		if t.later != nil {
			t.later.Stop()
		}
	}
	q.wake.Broadcast()
}

// failures returns the last errors of the first keys that are not reconciled, in key
// order, and an error that counts the rest.
func (q *workQueue) failures() []error {
	q.mu.Lock()
	defer q.mu.Unlock()
	var first []string
	count := 0
	for key, t := range q.tasks {
		if t.err == nil {
			continue
		}
		count++
		if i, _ := slices.BinarySearchFunc(first, key, strings.Compare); i < maxFailures {
			first = slices.Insert(first, i, key)
			first = first[:min(len(first), maxFailures)]
		}
	}
	var errs []error
	for _, key := range first {
		t := q.tasks[key]
		errs = append(errs, &KeyError{Key: key, Failures: t.failed, Err: t.err})
	}
	if count > maxFailures {
		errs = append(errs, fmt.Errorf("watch: the last run of %d more keys failed", count-maxFailures))
	}
	return errs
}

// depth returns how many keys are ready, running, and waiting, and how long the oldest
// ready one has been.
func (q *workQueue) depth() (ready, running, waiting int, oldest time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.ready) > 0 {
		oldest = time.Since(q.tasks[q.ready[0]].since)
	}
	return len(q.ready), q.running, len(q.tasks) - len(q.ready) - q.running, oldest
}

// retried returns how many runs were due to a failure.
func (q *workQueue) retried() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.retries
}
