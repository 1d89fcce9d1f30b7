package watchlab

import (
	"errors"
	"fmt"
	"runtime/pprof"
	"strings"

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
	gone := make(chan struct{})
	go func() {
		l.consumers.Wait()
		close(gone)
	}()
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
	}
	for _, p := range l.peers {
		errs = append(errs, ignoreCanceled(p.client.Close()))
	}
	for _, w := range l.writers {
		errs = append(errs, ignoreCanceled(w.client.Close()))
	}
	if l.admin != nil {
		errs = append(errs, ignoreCanceled(l.admin.Close()))
	}
	if !l.journal.found() {
		l.strangers.Wait()
		l.consumers.Wait()
		l.checkWatches("clients that are closed")
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

// checkWatches wants no gRPC stream of watches to be left, neither at the clients nor at
// the members. All of them are in this process.
func (l *lab) checkWatches(of string) {
	left := ""
	if await(func() bool {
		left = watchStreams()
		return left == ""
	}) {
		return
	}
	l.journal.find(Watches, of, "left after %v:\n%s", patience, left)
}

// watchStreams says how many goroutines serve a stream of watches, with an example.
func watchStreams() string {
	var clients, members int
	var example string
	for stack := range strings.SplitSeq(stacks(), "\n\n") {
		switch {
		case strings.Contains(stack, "client/v3.(*watchGRPCStream)."):
			clients++
		case strings.Contains(stack, "v3rpc.(*watchServer).Watch("):
			members++
		default:
			continue
		}
		example = stack
	}
	if example == "" {
		return ""
	}
	return fmt.Sprintf("%d goroutines at clients, %d streams at members, such as\n%s", clients, members, example)
}

// checkRoutines wants no goroutine to be left that was not there before.
func (l *lab) checkRoutines(before goleak.Option) {
	var err error
	for range 10 { // each of which takes half a second
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
