package watchlab

import (
	"errors"
	"runtime/pprof"
	"strings"
	"sync"

	"go.uber.org/goleak"
)

// goHome lets everybody leave, perhaps in the middle of a fault, and wants nothing of them
// to be left.
func (l *lab) goHome() {
	d := newDraw(l.plan.Seed, 99)
	if l.plan.Storm {
		for i, p := range l.peers {
			fault := oneOf(d, Refuse, HalfOpen, Forget, Cut, CutToServer, CutToClient)
			l.journal.note("%v at peer %d while everybody leaves", fault, i)
			p.suffer(Strike{Fault: fault})
		}
	}
	d.Shuffle(len(l.leave), func(i, k int) { l.leave[i], l.leave[k] = l.leave[k], l.leave[i] })
	for _, leave := range l.leave {
		leave()
	}
	gone := done(&l.consumers)
	if !await(func() bool { return isClosed(gone) }) {
		l.journal.find(Stuck, "everybody", "not gone %v after the end of their contexts:\n%s", patience, stacks())
		return
	}
	l.healLines()
	for _, c := range l.here {
		c.verify()
	}
	// Strangers open gRPC streams that clientv3 does not close.
	if !l.hasStrangers() {
		l.checkWatches("clients that are still open")
	}
}

func (l *lab) hasStrangers() bool {
	for _, p := range l.plan.Peers {
		if len(p.Foreign) > 0 {
			return true
		}
	}
	return false
}

// tearDown closes whatever there is.
func (l *lab) tearDown() error {
	var errs []error
	for _, leave := range l.leave {
		leave()
	}
	if l.dismiss != nil {
		l.dismiss()
		l.strangers.Wait()
	}
	if l.closePeers() && !l.journal.found() {
		l.consumers.Wait()
		l.checkWatches("clients that are closed")
	}
	for _, w := range l.writers {
		errs = append(errs, w.client.Close())
	}
	if l.admin != nil {
		errs = append(errs, l.admin.Close())
	}
	for _, p := range l.peers {
		errs = append(errs, p.net.Close())
	}
	if l.truth != nil {
		l.truth.close()
	}
	if l.cluster != nil {
		errs = append(errs, l.cluster.Close())
	}
	return errors.Join(errs...)
}

// closePeers closes the clients, and reports whether that has come to an end. With
// strangers it need not: clientv3 3.7.3 never ends a gRPC stream that breaks at the
// moment at which the server refuses a watch on it. Such a bout says nothing about what is left.
func (l *lab) closePeers() bool {
	var closing sync.WaitGroup
	for _, p := range l.peers {
		closing.Go(func() { _ = p.client.Close() }) // its error is that of its own end
	}
	closed := done(&closing)
	if await(func() bool { return isClosed(closed) }) {
		return true
	}
	for _, p := range l.peers { // else the bouts after this one would see it connect
		_ = p.client.ActiveConnection().Close()
	}
	l.spoiled = l.hasStrangers()
	if !l.spoiled {
		l.journal.find(Stuck, "a client", "not closed after %v:\n%s", patience, stacks())
	}
	l.journal.note("a client was not closed")
	return false
}

// done is closed when all of wg are.
func done(wg *sync.WaitGroup) <-chan struct{} {
	ch := make(chan struct{})
	go func() {
		wg.Wait()
		close(ch)
	}()
	return ch
}

// checkWatches wants no gRPC stream of watches to be left, neither at the clients nor at
// the members. All of them are in this process.
func (l *lab) checkWatches(of string) {
	var left watchStreams
	if await(func() bool {
		left = countWatchStreams()
		return left.clients <= l.before.clients && left.members <= l.before.members
	}) {
		return
	}
	l.journal.find(Watches, of, "after %v there are %d goroutines at clients and %d streams at members, such as\n%s",
		patience, left.clients, left.members, left.example)
}

// watchStreams is how many goroutines serve gRPC streams of watches.
type watchStreams struct {
	clients, members int
	example          string // the stack of one
}

func countWatchStreams() (n watchStreams) {
	for stack := range strings.SplitSeq(stacks(), "\n\n") {
		switch {
		case strings.Contains(stack, "client/v3.(*watchGRPCStream)."):
			n.clients++
		case strings.Contains(stack, "v3rpc.(*watchServer).Watch("):
			n.members++
		default:
			continue
		}
		n.example = stack
	}
	return n
}

// checkRoutines wants no goroutine to be left that was not there before.
func (l *lab) checkRoutines(before goleak.Option) {
	var err error
	for range 120 { // each of which takes half a second
		if err = goleak.Find(before); err == nil {
			return
		}
	}
	l.journal.find(Routines, "the bout", "%v", err)
}

func stacks() string {
	var b strings.Builder
	if err := pprof.Lookup("goroutine").WriteTo(&b, 2); err != nil {
		return err.Error()
	}
	return b.String()
}

func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}
