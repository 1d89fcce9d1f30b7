package vtime

import (
	"errors"
	"net"
	"time"
)

// errReset is what a client reads from a connection that was broken.
var errReset = errors.New("vtime: connection reset")

// cutConn is the client's end of a connection, behind a [Cut]. No lock is held while it blocks: waiting for a mutex
// would stop virtual time.
type cutConn struct {
	net.Conn // the pipe
	cut      *Cut

	closed chan struct{} // closed by Close
	broken chan struct{} // closed by breakOff

	// Guarded by cut.mu.
	lost     bool   // bytes, or the server's end, were swallowed: not to be used after the cut
	pending  []byte // what is held towards the server
	draining bool   // drain is running, and everything written goes through pending, to stay in order
}

// Write never blocks while cut: the sender of a real connection does not notice either, until its buffer is full.
func (c *cutConn) Write(b []byte) (int, error) {
	if c.intercept(b) {
		return len(b), nil
	}
	n, err := c.Conn.Write(b)
	if err != nil && c.hidesServer() {
		return len(b), nil // the server closed it, which the client must not see before it can read it
	}
	return n, err
}

// intercept disposes of b if it must not reach the server now.
func (c *cutConn) intercept(b []byte) bool {
	c.cut.mu.Lock()
	defer c.cut.mu.Unlock()
	switch {
	case c.cut.toServer == lossy:
		c.lost = true
	case c.cut.toServer == held || c.draining:
		c.pending = append(c.pending, b...)
		c.startDrain()
	default:
		return false
	}
	return true
}

// hidesServer reports whether the end of the connection is news that does not pass.
func (c *cutConn) hidesServer() bool {
	c.cut.mu.Lock()
	defer c.cut.mu.Unlock()
	return c.cut.toClient != open && !done(c.closed) && !done(c.broken)
}

// Read returns what passes, and in its time.
func (c *cutConn) Read(b []byte) (int, error) {
	for {
		n, err := c.Conn.Read(b)
		if pass, cause := c.admit(err); cause != nil || pass {
			return n, cause
		}
	}
}

// admit decides about what was read with the outcome err: to let it pass, with the error that the reader gets, or to
// swallow it. It waits while that is undecided.
func (c *cutConn) admit(err error) (pass bool, cause error) {
	for {
		c.cut.mu.Lock()
		passage, changed := c.cut.toClient, c.cut.changed
		if passage == lossy {
			c.lost = true
		}
		c.cut.mu.Unlock()
		switch {
		case done(c.closed):
			return false, net.ErrClosed
		case done(c.broken):
			return false, errReset
		case passage == open:
			return true, err
		case passage == lossy && err == nil:
			return false, nil
		}
		select {
		case <-changed:
		case <-c.closed:
		case <-c.broken:
		}
	}
}

// Close ends the connection for the client at once, and for the server when it may learn of it.
func (c *cutConn) Close() error {
	c.cut.mu.Lock()
	if done(c.closed) {
		c.cut.mu.Unlock()
		return net.ErrClosed
	}
	close(c.closed)
	later := !done(c.broken) && (c.draining || c.cut.toServer != open)
	if later {
		c.startDrain()
	}
	c.cut.mu.Unlock()
	if later {
		return c.SetReadDeadline(time.Now()) // wakes Read
	}
	return c.finish()
}

// startDrain makes drain run. cut.mu must be held.
func (c *cutConn) startDrain() {
	if !c.draining {
		c.draining = true
		go c.drain()
	}
}

// drain delivers what is pending, and after it the client's Close, as soon as the way to the server is open. It ends when
// it has, or when the connection is broken, which the end of Run sees to.
func (c *cutConn) drain() {
	for {
		c.cut.mu.Lock()
		passage, changed, pending := c.cut.toServer, c.cut.changed, c.pending
		switch {
		case done(c.broken):
			c.cut.mu.Unlock()
			return
		case passage != open:
			c.cut.mu.Unlock()
			select {
			case <-changed:
			case <-c.broken:
			}
			continue
		case len(pending) == 0:
			c.draining = false
			closed := done(c.closed)
			c.cut.mu.Unlock()
			if closed {
				_ = c.finish() // nobody is left to be told
			}
			return
		}
		c.pending = nil
		c.cut.mu.Unlock()
		_, _ = c.Conn.Write(pending) // fails when the server has closed it, which Read tells
	}
}

// breakOff makes the connection useless for the client. The caller closes the pipe once it has released cut.mu, which
// must be held.
func (c *cutConn) breakOff() {
	if !done(c.broken) {
		close(c.broken)
	}
}

// finish closes the pipe, for both sides.
func (c *cutConn) finish() error {
	c.cut.mu.Lock()
	delete(c.cut.conns, c)
	c.cut.mu.Unlock()
	return c.Conn.Close()
}

func closeAll(conns []*cutConn) {
	for _, conn := range conns {
		_ = conn.finish() // a pipe's Close cannot fail
	}
}

func done(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
