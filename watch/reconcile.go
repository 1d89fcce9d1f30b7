package watch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"
)

// Reconcile calls fn with each key of the cache, and again whenever it changes, until ctx
// ends or the cache stops: the loop at the heart of a controller. fn is only told the key;
// it asks the cache for the state ([Cache.Get] returns false for a deleted key) and makes
// the world agree with it. So it does not matter how many changes one call stands for.
//
// A key never runs twice at a time, and a key that changed while running runs once more. If
// fn fails, or panics (see [PanicError]), the key is tried again after a while, see
// [WithBackoff], and so on until it succeeds, even if it has changed while fn ran. Each
// failure is logged at Warn by the cache's logger. fn may ask for another run after some
// time, see [RunAgain], and keys may come from elsewhere, see [WithSource]. Keys run in the
// order in which they became due, at most as many at a time as there are workers
// ([WithWorkers]).
//
// The ctx that fn gets ends with that of Reconcile. When that ends, or the cache or a
// source stops, Reconcile waits for the calls under way and returns ctx's error, or that of
// the cache or source, joined with a [*KeyError] for each of the first ten keys, in key
// order, whose last run failed, and an error that counts the rest. It never returns nil.
// Several Reconciles may run on one cache; they are independent.
//
// A wrong option is an immediate error. Memory: one queue entry for each key that is due,
// running, failing, or waiting to run again.
func Reconcile[T any](ctx context.Context, c *Cache[T], fn func(ctx context.Context, key string) error, opts ...ReconcileOption) error {
	cfg, err := newReconcileConfig(opts)
	if c == nil {
		err = errors.Join(err, errors.New("watch: cache is nil: must come from NewCache"))
	}
	if fn == nil {
		err = errors.Join(err, errors.New("watch: reconcile function is nil: must be a function"))
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	r := &reconciler{queue: newWorkQueue(cfg.minPause, cfg.maxPause), fn: fn, log: c.log, cancel: cancel, observers: cfg.observers}
	r.open()
	for range cfg.workers {
		r.workers.Go(func() { r.work(ctx) })
	}
	if cfg.resync > 0 {
		r.workers.Go(func() { r.resync(ctx, cfg.resync, c.keys) })
	}
	for _, source := range cfg.sources {
		r.workers.Go(func() { r.listen(ctx, source) })
	}
	for change, err := range c.Changes(ctx) {
		if err != nil {
			return r.end(ctx, err)
		}
		r.queue.add(change.Key)
	}
	return r.end(ctx, ErrClosed) // not reached: Changes ends with an error
}

// RunAgain returns an error that is not a failure: a function given to [Reconcile] that
// returns it has succeeded, and runs again after d, or earlier if the key changes. With 0
// it runs again at once; a negative d is the same as returning nil.
func RunAgain(d time.Duration) error { return &againError{after: d} }

type againError struct{ after time.Duration }

func (r *againError) Error() string {
	return fmt.Sprintf("watch: not a failure: to run again after %v", r.after)
}

// reconciler runs one call of Reconcile.
type reconciler struct {
	queue     *workQueue
	fn        func(ctx context.Context, key string) error
	log       *slog.Logger
	observers []ReconcileObserver
	cancel    context.CancelCauseFunc
	workers   sync.WaitGroup // end after the queue is stopped and their ctx is cancelled
}

// sourceError wraps what a source has ended with.
type sourceError struct{ error }

func (e *sourceError) Unwrap() error { return e.error }

// end stops the workers, waits for them and returns why together with what was left
// undone.
func (r *reconciler) end(ctx context.Context, why error) error {
	if source, ok := context.Cause(ctx).(*sourceError); ok { //nolint:errorlint // made by listen, never wrapped
		why = source.error
	}
	r.queue.stop()
	r.cancel(nil)
	r.workers.Wait()
	err := errors.Join(append([]error{why}, r.queue.failures()...)...)
	r.close(err)
	return err
}

// listen adds the keys of a source until ctx ends.
func (r *reconciler) listen(ctx context.Context, source Source) {
	if err := source(ctx, r.queue.add); err != nil && ctx.Err() == nil {
		r.cancel(&sourceError{fmt.Errorf("watch: a source of keys has failed: %w", err)})
	}
}

// work runs keys until the queue is stopped.
func (r *reconciler) work(ctx context.Context) {
	for {
		key, waited, ok := r.queue.take()
		if !ok || ctx.Err() != nil {
			return
		}
		r.run(ctx, key, waited)
	}
}

// run calls fn with a key that was handed out.
func (r *reconciler) run(ctx context.Context, key string, waited time.Duration) {
	returned := false
	defer func() {
		if !returned { // fn called runtime.Goexit, which ends this worker
			r.queue.finish(key, errors.New("watch: the reconcile function ended its goroutine"), never)
			r.workers.Go(func() { r.work(ctx) })
		}
	}()
	began := time.Now()
	err := r.call(ctx, key)
	returned = true
	if err != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		r.queue.abandon(key)
		return
	}
	after := never
	if again, ok := errors.AsType[*againError](err); ok {
		after, err = again.after, nil
	}
	failed, pause := r.queue.finish(key, err, after)
	if err != nil {
		r.log.Warn("watch: reconcile failed", "key", key, "failures", failed, "retry_in", pause, "error", err)
	}
	r.ran(Run{Key: key, Waited: waited, Took: time.Since(began), Failures: failed, Err: err})
}

// never is the time after which a key does not run again.
const never = time.Duration(-1)

// resync adds all keys every period.
func (r *reconciler) resync(ctx context.Context, period time.Duration, keys func() []string) {
	tick := time.NewTicker(period)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			for _, key := range keys() {
				r.queue.add(key)
			}
		case <-ctx.Done():
			return
		}
	}
}

// call calls fn and turns its panic into an error.
func (r *reconciler) call(ctx context.Context, key string) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	return r.fn(ctx, key)
}

// KeyError is what [Reconcile] returns for a key whose last run failed.
type KeyError struct {
	// Key is the key.
	Key string
	// Failures is how often it has failed in a row.
	Failures int
	// Err is the error of the last run.
	Err error
}

// Error names the key and its last error.
func (e *KeyError) Error() string {
	return fmt.Sprintf("watch: reconciling %q failed %d times in a row: %v", e.Key, e.Failures, e.Err)
}

// Unwrap returns the error of the last run.
func (e *KeyError) Unwrap() error { return e.Err }

// PanicError is the error of a function given to this package that panicked.
type PanicError struct {
	// Value is what it panicked with.
	Value any
	// Stack is its stack, as [debug.Stack] returns it.
	Stack []byte
}

// Error says what it panicked with and shows the stack.
func (e *PanicError) Error() string { return fmt.Sprintf("watch: panic: %v\n\n%s", e.Value, e.Stack) }

// Unwrap returns what it panicked with, if that is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}
