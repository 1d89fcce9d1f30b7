package watch

import "time"

// ReconcileObserver holds optional callbacks about what [Reconcile] does, for metrics; nil
// ones are skipped. They are called synchronously, by several goroutines, so they must be
// quick, must not block, and must not call this package, except for the methods of the
// [Work] they are given.
type ReconcileObserver struct {
	// Opened is called when Reconcile begins. The work may be asked from then on, by any
	// goroutine.
	Opened func(w *Work)
	// Ran is called after each run of the function.
	Ran func(w *Work, run Run)
	// Closed is called when Reconcile returns, with its error.
	Closed func(w *Work, err error)
}

// WithReconcileObserver adds the callbacks of o. If it is given more than once, all are
// called, in the order of the options. By default there are none.
func WithReconcileObserver(o ReconcileObserver) ReconcileOption {
	return reconcileOption(func(c *reconcileConfig) error {
		c.observers = append(c.observers, o)
		return nil
	})
}

// Run is one run of a function given to [Reconcile].
type Run struct {
	// Key is the key it ran for.
	Key string
	// Waited is how long the key had been due, Took how long the run took.
	Waited, Took time.Duration
	// Failures is how often the key has failed in a row, this run included.
	Failures int
	// Err is why the run failed, nil if it did not.
	Err error
}

// Work is what a [Reconcile] has to do. Its methods may be called from several goroutines.
type Work struct{ queue *workQueue }

// Depth returns how many keys are due and not running yet.
func (w *Work) Depth() int {
	ready, _, _, _ := w.queue.depth()
	return ready
}

// Running returns how many keys are running.
func (w *Work) Running() int {
	_, running, _, _ := w.queue.depth()
	return running
}

// Waiting returns how many keys wait to run again, because they failed or asked for it.
func (w *Work) Waiting() int {
	_, _, waiting, _ := w.queue.depth()
	return waiting
}

// Age returns how long the oldest due key has been due, 0 if none is.
func (w *Work) Age() time.Duration {
	_, _, _, oldest := w.queue.depth()
	return oldest
}

// Retries returns how many runs were repetitions after a failure.
func (w *Work) Retries() int64 { return w.queue.retried() }

func (r *reconciler) open() {
	for _, o := range r.observers {
		if o.Opened != nil {
			o.Opened(&Work{r.queue})
		}
	}
}

func (r *reconciler) ran(run Run) {
	for _, o := range r.observers {
		if o.Ran != nil {
			o.Ran(&Work{r.queue}, run)
		}
	}
}

func (r *reconciler) close(err error) {
	for _, o := range r.observers {
		if o.Closed != nil {
			o.Closed(&Work{r.queue}, err)
		}
	}
}
