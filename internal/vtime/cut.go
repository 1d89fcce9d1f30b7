package vtime

import (
	"context"
	"net"
	"sync"
)

// passage is what becomes of bytes in one direction.
type passage int

const (
	open  passage = iota
	lossy         // swallowed
	held          // kept for later
)

// Cut is the network between one client and the server. Between a cut and Heal, nothing passes in the directions that
// are cut: neither bytes nor the end of a connection, so neither side learns anything; and since connecting takes
// both directions, the client's attempts to dial wait, until their context ends or the network heals.
//
// There are two kinds, which differ in what the other side gets once healed:
//
//   - A lossy cut ([Cut.Cut], [Cut.CutToServer], [Cut.CutToClient]) swallows bytes. Heal resets connections that lost any,
//     as when a router forgot them: grpc reconnects, calls in flight fail, what was sent during the cut never
//     arrives. Connections that were silent live on.
//   - A hold ([Cut.Hold], [Cut.HoldToServer], [Cut.HoldToClient]) keeps the bytes, as TCP's retransmission does. Heal
//     delivers them, in order and at once, including requests whose callers have long given up, with the cancellation
//     right behind, and those of connections that the client has closed meanwhile, with the end right behind: how a
//     write happens minutes after it failed. Whether it does is a race in the server (it did in 177 of 200 puts of the
//     first kind, 46 of 200 of the second); a server interceptor that delays the call makes it certain.
//
// What had been written to a connection before a cut towards the server still arrives, as if it had just passed. What
// the server had written and the client not yet read is cut. Call [testing/synctest.Wait] (or [Advance]) before a cut to have
// nothing in flight.
//
// Cuts of the two directions add up; cutting a direction again replaces its kind, and a hold that turns lossy loses what
// it held. Read deadlines of a connection are not observed while it is held; grpc sets none.
type Cut struct {
	mu       sync.Mutex
	toServer passage
	toClient passage
	changed  chan struct{} // closed, and replaced, when a passage changes
	conns    map[*cutConn]struct{}
}

func newCut() *Cut {
	return &Cut{changed: make(chan struct{}), conns: make(map[*cutConn]struct{})}
}

// Cut swallows everything, both ways: a partition after which the connections are dead.
func (c *Cut) Cut() { c.change(func() { c.toServer, c.toClient = lossy, lossy }) }

// CutToServer swallows what the client sends. The server's replies and events still pass.
func (c *Cut) CutToServer() { c.change(func() { c.toServer = lossy }) }

// CutToClient swallows what the server sends. The client's requests still pass, and take effect.
func (c *Cut) CutToClient() { c.change(func() { c.toClient = lossy }) }

// Hold delays everything, both ways: a partition from which the connections recover.
func (c *Cut) Hold() { c.change(func() { c.toServer, c.toClient = held, held }) }

// HoldToServer delays what the client sends.
func (c *Cut) HoldToServer() { c.change(func() { c.toServer = held }) }

// HoldToClient delays what the server sends.
func (c *Cut) HoldToClient() { c.change(func() { c.toClient = held }) }

// Heal opens both directions. It does not wait for what that sets off; [testing/synctest.Wait] does. Until then a client may use a
// connection that is being reset, and its call fails, as it may in reality.
func (c *Cut) Heal() { c.change(func() { c.toServer, c.toClient = open, open }) }

// Reset breaks the connections there are in a way that both sides see, cut or not. What was held is lost. The client
// dials again as soon as it wants to and can.
func (c *Cut) Reset() {
	c.mu.Lock()
	broken := make([]*cutConn, 0, len(c.conns))
	for conn := range c.conns {
		conn.breakOff()
		broken = append(broken, conn)
	}
	c.mu.Unlock()
	closeAll(broken)
}

// change applies set and settles what follows from it for the connections.
func (c *Cut) change(set func()) {
	c.mu.Lock()
	set()
	var broken []*cutConn
	for conn := range c.conns {
		if c.toServer == lossy && len(conn.pending) > 0 {
			conn.pending, conn.lost = nil, true
		}
		if conn.lost && c.whole() {
			conn.breakOff()
			broken = append(broken, conn)
		}
	}
	close(c.changed)
	c.changed = make(chan struct{})
	c.mu.Unlock()
	closeAll(broken)
}

// whole reports whether nothing is cut. mu must be held.
func (c *Cut) whole() bool { return c.toServer == open && c.toClient == open }

// dial connects to s once both directions are open.
func (c *Cut) dial(ctx context.Context, s *Server) (net.Conn, error) {
	if err := c.awaitWhole(ctx); err != nil {
		return nil, err
	}
	lis, err := s.listener()
	if err != nil {
		return nil, err
	}
	pipe, err := lis.DialContext(ctx)
	if err != nil {
		return nil, err
	}
	return c.control(pipe), nil
}

// control puts the cut between the client and its end of a pipe.
func (c *Cut) control(pipe net.Conn) *cutConn {
	conn := &cutConn{Conn: pipe, cut: c, closed: make(chan struct{}), broken: make(chan struct{})}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conns[conn] = struct{}{}
	return conn
}

func (c *Cut) awaitWhole(ctx context.Context) error {
	for {
		c.mu.Lock()
		whole, changed := c.whole(), c.changed
		c.mu.Unlock()
		if whole {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
