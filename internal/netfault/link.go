package netfault

import (
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Each direction of a link has a reader and a writer with a queue between
// them, so that a delay applies to every chunk alike: a single goroutine that
// read, waited and wrote would let one chunk through per delay.
const (
	chunkBytes = 32 << 10
	queueLen   = 64
)

// turn is the longest that one connection has the line for itself under a rate,
// and the most that the line makes up for when a writer was late.
const turn = 10 * time.Millisecond

// link is one client connection and, once dialled, the server connection it
// is forwarded to.
type link struct {
	proxy  *Proxy
	client *net.TCPConn
	done   chan struct{} // closed with the link
	http2  atomic.Bool   // the client opened with the HTTP/2 preface

	// Guarded by proxy.mu.
	server *net.TCPConn // nil until dialled
	gone   bool         // silent until Heal resets it, see HalfOpen and Forget
	closed bool
}

// chunk is what one Read returned, or the error that ended the reading.
type chunk struct {
	data []byte
	at   time.Time
	err  error
}

// ending says how the sockets of a link are closed.
type ending int

const (
	gracefully ending = iota
	withReset         // SO_LINGER 0: the peer gets a TCP reset
)

// serve dials the server and forwards until both directions have ended or the
// link is closed, which closing both sockets guarantees to be noticed.
func (l *link) serve() {
	defer l.proxy.forget(l)
	server, ok := l.dial()
	if !ok {
		return
	}
	var wg sync.WaitGroup
	wg.Go(func() { l.forward(toServer, l.client, server) })
	wg.Go(func() { l.forward(toClient, server, l.client) })
	wg.Wait()
}

// dial waits until the network would let a handshake through, which takes both
// directions, and then connects to the server.
func (l *link) dial() (*net.TCPConn, bool) {
	if !l.await(func(f *faults) bool { return f.held[toServer] || f.held[toClient] || f.halfOpen }) {
		return nil, false
	}
	dialer := net.Dialer{Timeout: dialTimeout}
	conn, err := dialer.DialContext(l.proxy.ctx, "tcp", l.proxy.Target())
	server, ok := conn.(*net.TCPConn)

	l.proxy.mu.Lock()
	defer l.proxy.mu.Unlock()
	if err != nil || !ok {
		l.close(withReset)
		return nil, false
	}
	if l.closed {
		_ = server.Close()
		return nil, false
	}
	l.server = server
	if l.proxy.faults.halfOpen { // it began during the dial
		l.abandon()
	}
	return server, true
}

// forward copies from src to dst until src ends, dst fails or the link closes.
func (l *link) forward(dir direction, src, dst *net.TCPConn) {
	queue := make(chan chunk, queueLen)
	var wg sync.WaitGroup
	wg.Go(func() { l.read(src, queue) })
	wg.Go(func() { l.write(dir, dst, queue) })
	wg.Wait()
}

// read ends after the first read error, or when the link is closed. It knows
// nothing of faults: once the writer waits and the queue is full, it reads no
// more, and the sender runs into backpressure.
func (l *link) read(src *net.TCPConn, queue chan<- chunk) {
	buf := make([]byte, chunkBytes)
	for {
		n, err := src.Read(buf)
		at := time.Now()
		if n > 0 && !l.enqueue(queue, chunk{data: append([]byte(nil), buf[:n]...), at: at}) {
			return
		}
		if err != nil {
			l.enqueue(queue, chunk{err: err, at: at})
			return
		}
	}
}

func (l *link) enqueue(queue chan<- chunk, c chunk) bool {
	select {
	case queue <- c:
		return true
	case <-l.done:
		return false
	}
}

// write ends with the end of src's stream, or when the link is closed.
func (l *link) write(dir direction, dst *net.TCPConn, queue <-chan chunk) {
	var scan frameScanner
	for {
		var c chunk
		select {
		case c = <-queue:
		case <-l.done:
			return
		}
		if !l.awaitDue(dir, c.at) {
			return
		}
		if c.err != nil {
			l.passEnd(dst, c.err)
			return
		}
		if l.dropsReply(dir, &scan, c.data) {
			return
		}
		if !l.send(dir, dst, c) {
			return
		}
	}
}

// send writes a chunk, at the pace of the line. It is false when the link is
// closed.
func (l *link) send(dir direction, dst *net.TCPConn, c chunk) bool {
	for len(c.data) > 0 {
		n := l.awaitLine(dir, c)
		if !l.awaitPass(dir) {
			return false
		}
		if _, err := dst.Write(c.data[:n]); err != nil {
			// The receiver is gone. Its reset travels the other way, and is
			// held like everything else there.
			if l.awaitPass(dir.opposite()) {
				l.reset()
			}
			return false
		}
		c.data = c.data[n:]
	}
	return true
}

// awaitLine waits until the line has carried the first bytes of a chunk, and
// returns how many: all, unless there is a rate. When faults change it waits no
// longer, which lets a turn pass too early at most.
func (l *link) awaitLine(dir direction, c chunk) int {
	n, until, changed := l.book(dir, c)
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-changed:
	case <-l.done:
	}
	return n
}

// book takes the line, until a time, for the first n bytes of a chunk.
func (l *link) book(dir direction, c chunk) (n int, until time.Time, changed <-chan struct{}) {
	p := l.proxy
	p.mu.Lock()
	defer p.mu.Unlock()
	rate := int64(p.faults.rate[dir])
	if rate <= 0 {
		return len(c.data), until, p.changed
	}
	bytes := max(rate*int64(turn)/int64(time.Second), 1)
	bytes = min(bytes, int64(len(c.data)))
	from := latest(p.line[dir], c.at.Add(p.faults.delay[dir]), time.Now().Add(-turn))
	p.line[dir] = from.Add(time.Duration(bytes * int64(time.Second) / rate))
	return int(bytes), p.line[dir], p.changed
}

func latest(times ...time.Time) time.Time {
	return slices.MaxFunc(times, time.Time.Compare)
}

// passEnd hands the end of a stream on: an orderly one as a half-close, a
// broken connection as a reset.
func (l *link) passEnd(dst *net.TCPConn, err error) {
	if !errors.Is(err, io.EOF) || dst.CloseWrite() != nil {
		l.reset()
	}
}

// awaitPass waits until nothing holds back what goes in direction dir. It is
// false when the link is closed.
func (l *link) awaitPass(dir direction) bool {
	return l.await(func(f *faults) bool { return f.held[dir] || l.gone })
}

// awaitDue waits until a chunk read at that time may go out.
func (l *link) awaitDue(dir direction, at time.Time) bool {
	for {
		if !l.awaitPass(dir) {
			return false
		}
		wait, changed := l.overdue(dir, at)
		if wait <= 0 {
			return true
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-changed: // the delay may have ended, or a blackhole begun
		case <-l.done:
		}
		timer.Stop()
	}
}

// overdue says how long a chunk read at that time still has to wait.
func (l *link) overdue(dir direction, at time.Time) (time.Duration, <-chan struct{}) {
	l.proxy.mu.Lock()
	defer l.proxy.mu.Unlock()
	return l.proxy.faults.delay[dir] - time.Since(at), l.proxy.changed
}

// await waits until blocked is false, which it asks under mu at every change of
// the faults. It is false when the link is closed.
func (l *link) await(blocked func(*faults) bool) bool {
	for {
		l.proxy.mu.Lock()
		open, stop, changed := !l.closed, blocked(&l.proxy.faults), l.proxy.changed
		l.proxy.mu.Unlock()
		if !open || !stop {
			return open
		}
		select {
		case <-changed:
		case <-l.done:
		}
	}
}

// reset closes the link with a TCP reset on both sides.
func (l *link) reset() {
	l.proxy.mu.Lock()
	defer l.proxy.mu.Unlock()
	l.close(withReset)
}

// abandon closes the server side and leaves the client without an answer.
// proxy.mu must be held.
func (l *link) abandon() {
	if l.server == nil || l.closed {
		return
	}
	l.gone = true
	_ = l.server.Close()
}

// close closes both sockets, once. proxy.mu must be held. Errors are dropped:
// whatever state a socket is in, it is closed afterwards.
func (l *link) close(how ending) {
	if l.closed {
		return
	}
	l.closed = true
	close(l.done)
	for _, c := range []*net.TCPConn{l.client, l.server} {
		if c == nil {
			continue
		}
		if how == withReset {
			_ = c.SetLinger(0)
		}
		_ = c.Close()
	}
}
