package netfault

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"
)

// dialTimeout bounds the proxy's own dial of its target, which is on the same
// host: a target that takes longer is treated as one that refuses.
const dialTimeout = 5 * time.Second

// Proxy forwards TCP connections to one target and breaks them on command.
// All methods may be called concurrently. Use [Start].
type Proxy struct {
	ln     net.Listener
	ctx    context.Context // done at Close; bounds the dials
	cancel context.CancelFunc
	wg     sync.WaitGroup // the accept loop and one goroutine per link

	mu      sync.Mutex
	target  string
	faults  faults
	changed chan struct{} // closed and replaced whenever faults change
	line    [2]time.Time  // by direction: until when it is taken, under a rate
	links   map[*link]struct{}
	drop    *replyDrop // nil unless a reply is to be dropped
	closed  bool
}

// faults are what the proxy does to traffic at this moment.
type faults struct {
	held     [2]bool // by direction
	delay    [2]time.Duration
	rate     [2]int // bytes per second; 0 is no limit
	refuse   bool
	halfOpen bool
}

// direction is where a byte is going.
type direction int

const (
	toServer direction = iota
	toClient
)

// opposite is the direction in which d's sender hears of d's receiver.
func (d direction) opposite() direction { return 1 - d }

// Start listens on a free port of 127.0.0.1 and forwards every connection to
// target, a host:port. The target need not be up yet: it is dialled once per
// connection, and a connection whose dial fails is reset.
func Start(target string) (*Proxy, error) {
	if _, _, err := net.SplitHostPort(target); err != nil {
		return nil, fmt.Errorf("netfault: target %q: %w", target, err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("netfault: listen: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &Proxy{
		target:  target,
		ln:      ln,
		ctx:     ctx,
		cancel:  cancel,
		changed: make(chan struct{}),
		links:   make(map[*link]struct{}),
	}
	p.wg.Go(p.accept)
	return p, nil
}

// Addr returns the host:port that clients dial.
func (p *Proxy) Addr() string { return p.ln.Addr().String() }

// Target returns the host:port that the proxy forwards to.
func (p *Proxy) Target() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.target
}

// Retarget lets new connections lead to another host:port, as when a name is given another
// address. Those that are open stay where they are.
func (p *Proxy) Retarget(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = target
}

// Connections returns the number of connections that clients have open
// through the proxy, those that hang included.
func (p *Proxy) Connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.links)
}

// Blackhole lets no byte pass either way until Heal. Connections stay open,
// new ones are accepted. Held bytes are delivered by Heal, in order.
func (p *Proxy) Blackhole() {
	p.change(func(f *faults) { f.held = [2]bool{true, true} })
}

// BlackholeToServer is [Proxy.Blackhole] for what clients send; what the
// server sends still arrives.
func (p *Proxy) BlackholeToServer() {
	p.change(func(f *faults) { f.held[toServer] = true })
}

// BlackholeToClient is [Proxy.Blackhole] for what the server sends; requests
// still reach it and are carried out.
func (p *Proxy) BlackholeToClient() {
	p.change(func(f *faults) { f.held[toClient] = true })
}

// Delay lets every chunk, each way, arrive d after it was sent. The order is
// kept and throughput is not reduced. Zero ends the delay; chunks under way
// are then delivered at once.
func (p *Proxy) Delay(d time.Duration) {
	p.change(func(f *faults) { f.delay = [2]time.Duration{d, d} })
}

// DelayToServer is [Proxy.Delay] for what clients send.
func (p *Proxy) DelayToServer(d time.Duration) {
	p.change(func(f *faults) { f.delay[toServer] = d })
}

// DelayToClient is [Proxy.Delay] for what the server sends.
func (p *Proxy) DelayToClient(d time.Duration) {
	p.change(func(f *faults) { f.delay[toClient] = d })
}

// Rate lets at most so many bytes a second pass, each way. All connections
// share them, piece by piece, as they would share a line. Zero, or less, ends
// the limit; bytes that wait are then delivered at once. A delay comes on top.
func (p *Proxy) Rate(bytesPerSecond int) {
	p.change(func(f *faults) { f.rate = [2]int{bytesPerSecond, bytesPerSecond} })
}

// RateToServer is [Proxy.Rate] for what clients send.
func (p *Proxy) RateToServer(bytesPerSecond int) {
	p.change(func(f *faults) { f.rate[toServer] = bytesPerSecond })
}

// RateToClient is [Proxy.Rate] for what the server sends.
func (p *Proxy) RateToClient(bytesPerSecond int) {
	p.change(func(f *faults) { f.rate[toClient] = bytesPerSecond })
}

// Reset breaks every open connection with a TCP reset on both sides. New
// connections work.
func (p *Proxy) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.resetLinks()
}

// Refuse resets every open connection, and every new one, until Heal.
func (p *Proxy) Refuse() {
	p.change(func(f *faults) {
		f.refuse = true
		p.resetLinks()
	})
}

// HalfOpen makes the server vanish without a word: its side of every
// connection is closed, the client's side stays open and silent, new
// connections hang. Heal is the server coming back: it answers the old
// connections with a reset and serves those that hung.
func (p *Proxy) HalfOpen() {
	p.change(func(f *faults) {
		f.halfOpen = true
		for l := range p.links {
			l.abandon()
		}
	})
}

// Forget lets every open connection go silent for good, both ways, as when a
// firewall on the way has lost its table: neither side is told, what is sent
// is held, and Heal resets. New connections work.
func (p *Proxy) Forget() {
	p.change(func(*faults) {
		for l := range p.links {
			l.gone = l.server != nil
		}
	})
}

// Heal ends every fault: held bytes flow, connections that HalfOpen or Forget
// left silent are reset, and a pending DropNextReply is called off.
func (p *Proxy) Heal() {
	p.change(func(f *faults) {
		*f = faults{}
		p.endDrop()
		for l := range p.links {
			if l.gone {
				l.close(withReset)
			}
		}
	})
}

// Close resets every connection, stops listening and waits for the proxy's
// goroutines. It is idempotent and always returns nil.
func (p *Proxy) Close() error {
	p.mu.Lock()
	if !p.closed {
		p.closed = true
		p.cancel()
		// The listener's error says only that it was closed before.
		_ = p.ln.Close()
		p.resetLinks()
		p.endDrop()
	}
	p.mu.Unlock()
	p.wg.Wait()
	return nil
}

// change edits the faults under mu and wakes everyone who waits for them.
func (p *Proxy) change(edit func(*faults)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	edit(&p.faults)
	close(p.changed)
	p.changed = make(chan struct{})
}

// resetLinks resets every open connection. mu must be held.
func (p *Proxy) resetLinks() {
	for l := range p.links {
		l.close(withReset)
	}
}

// accept ends when Close closes the listener.
func (p *Proxy) accept() {
	for {
		conn, err := p.ln.Accept()
		if err != nil {
			return
		}
		client, ok := conn.(*net.TCPConn)
		if !ok {
			_ = conn.Close()
			continue
		}
		p.admit(client)
	}
}

// admit starts a link for client, or resets it.
func (p *Proxy) admit(client *net.TCPConn) {
	l := &link{proxy: p, client: client, done: make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.faults.refuse {
		l.close(withReset)
		return
	}
	p.links[l] = struct{}{}
	// Under mu, so that Close cannot have begun to wait.
	p.wg.Go(l.serve)
}

// forget takes l out of the open connections. Its close comes first, so that
// whoever sees it gone also finds its sockets closed.
func (p *Proxy) forget(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l.close(gracefully)
	if p.drop != nil && p.drop.link == l {
		p.drop.link = nil
	}
	delete(p.links, l)
}
