package netfault

// replyDrop is a pending DropNextReply. Its fields are guarded by Proxy.mu.
type replyDrop struct {
	done   chan struct{}
	link   *link  // nil until a request has passed
	stream uint32 // of that request, on an HTTP/2 connection
}

// DropNextReply lets the next request through and drops the answer to it
// together with the connection: when the answer has arrived from the server,
// both sides are reset. The server has then done what it was asked, and the
// client cannot know. The channel is closed when that has happened, or when
// Heal or Close calls it off.
//
// On a plain TCP connection the next chunk from the client is the request and
// the next chunk from the server is its reply. HTTP/2, and so gRPC, sends
// pings, settings and window updates in between; there the request is the next
// frame of data on any stream, and the reply is the next frame of headers or
// data on the same stream.
//
// A request whose connection ends before the answer does not count: the next
// one is taken. While one drop is pending, further calls return its channel.
func (p *Proxy) DropNextReply() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.drop == nil {
		p.drop = &replyDrop{done: make(chan struct{})}
		if p.closed {
			done := p.drop.done
			p.endDrop()
			return done
		}
	}
	return p.drop.done
}

// endDrop closes the channel of a pending drop. mu must be held.
func (p *Proxy) endDrop() {
	if p.drop != nil {
		close(p.drop.done)
		p.drop = nil
	}
}

// dropsReply looks at a chunk that is about to be written, and is true when it
// is the reply to drop; the link is then closed.
func (l *link) dropsReply(dir direction, scan *frameScanner, data []byte) bool {
	if dir == toServer {
		l.noteRequest(scan, data)
		return false
	}
	frames := scan.server(data)

	p := l.proxy
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.drop == nil || p.drop.link != l || (l.http2.Load() && !replyIn(frames, p.drop.stream)) {
		return false
	}
	l.close(withReset)
	p.endDrop()
	return true
}

// noteRequest gives a pending drop the request it waits for.
func (l *link) noteRequest(scan *frameScanner, data []byte) {
	frames, http2 := scan.client(data)
	l.http2.Store(http2)

	p := l.proxy
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.drop == nil || p.drop.link != nil {
		return
	}
	if !http2 {
		p.drop.link = l
		return
	}
	for _, f := range frames {
		if f.kind == frameData && f.length > 0 {
			p.drop.link, p.drop.stream = l, f.stream
			return
		}
	}
}

// replyIn reports whether frames has an answer on the stream.
func replyIn(frames []frame, stream uint32) bool {
	for _, f := range frames {
		if f.stream == stream && (f.kind == frameData || f.kind == frameHeaders) {
			return true
		}
	}
	return false
}
