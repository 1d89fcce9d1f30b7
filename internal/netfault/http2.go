package netfault

import (
	"bytes"
	"encoding/binary"
)

// What little of HTTP/2 (RFC 9113, sections 3.4 and 4.1) it takes to see which
// chunk carries a request or its reply.
const (
	preface       = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	frameHeadSize = 9
	frameData     = 0
	frameHeaders  = 1
)

// frame is the head of an HTTP/2 frame.
type frame struct {
	length int
	kind   byte
	stream uint32
}

// frameScanner follows the frames of one direction of a connection through
// whatever chunks they come in. The zero value is at the connection's start.
type frameScanner struct {
	opening []byte // the client's first bytes, while they may be a preface
	decided bool
	http2   bool
	head    []byte // of a frame whose head has not come completely
	skip    int    // bytes left of the current frame's payload
}

// client returns the frames that begin in data, sent by a client, and whether
// the connection is HTTP/2. Until it has seen the whole preface it says no.
func (s *frameScanner) client(data []byte) ([]frame, bool) {
	if !s.decided {
		s.opening = append(s.opening, data...)
		if len(s.opening) < len(preface) && bytes.HasPrefix([]byte(preface), s.opening) {
			return nil, false
		}
		s.decided = true
		data, s.http2 = bytes.CutPrefix(s.opening, []byte(preface))
		s.opening = nil
	}
	if !s.http2 {
		return nil, false
	}
	return s.server(data), true
}

// server returns the frames that begin in data. On a connection that is not
// HTTP/2 they mean nothing.
func (s *frameScanner) server(data []byte) []frame {
	var frames []frame
	for len(data) > 0 {
		if s.skip > 0 {
			n := min(s.skip, len(data))
			s.skip -= n
			data = data[n:]
			continue
		}
		n := min(frameHeadSize-len(s.head), len(data))
		s.head = append(s.head, data[:n]...)
		data = data[n:]
		if len(s.head) < frameHeadSize {
			break
		}
		f := parseHead(s.head)
		s.head, s.skip = s.head[:0], f.length
		frames = append(frames, f)
	}
	return frames
}

func parseHead(head []byte) frame {
	return frame{
		length: int(head[0])<<16 | int(head[1])<<8 | int(head[2]),
		kind:   head[3],
		stream: binary.BigEndian.Uint32(head[5:]) &^ (1 << 31), // the top bit is reserved
	}
}
