package spec

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/conclave-go/conclave/internal/clock"
)

// Trace returns a process that writes what it takes note of to w, step by step, for
// [Run.Replay]. Each step is one call of Write, so that what was written before the process
// was killed can be read. After an error nothing more is written.
func Trace(w io.Writer) *Process {
	return newProcess(&writer{out: json.NewEncoder(w), began: clock.Now()})
}

// writer writes steps.
type writer struct {
	began clock.Instant

	mu  sync.Mutex
	out *json.Encoder
	err error
}

func (w *writer) since() time.Duration { return clock.Now().Sub(w.began) }

func (w *writer) note(what any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return
	}
	l := line{At: w.since()}
	switch what := what.(type) {
	case Message:
		l.Message, w.err = encode(what)
	case told:
		l.Told = &what
	}
	if w.err == nil {
		w.err = w.out.Encode(l)
	}
}

// line is a step in a trace.
type line struct {
	At      time.Duration `json:"at"`
	Message *written      `json:"message,omitempty"`
	Told    *told         `json:"told,omitempty"`
}

// written is a message, with its protocol buffers in wire format together with their types.
type written struct {
	Call     int64       `json:"call"`
	Stream   bool        `json:"stream,omitempty"`
	Request  []byte      `json:"request,omitempty"`
	Response []byte      `json:"response,omitempty"`
	Code     *codes.Code `json:"code,omitempty"`
	Text     string      `json:"text,omitempty"`
}

func encode(m Message) (*written, error) {
	request, err := wire(m.Request)
	if err != nil {
		return nil, err
	}
	response, err := wire(m.Response)
	if err != nil {
		return nil, err
	}
	w := &written{Call: m.Call, Stream: m.Stream, Request: request, Response: response}
	if m.Err != nil {
		code := status.Code(m.Err)
		w.Code, w.Text = &code, status.Convert(m.Err).Message()
	}
	return w, nil
}

// wire and unwire turn a message into bytes and back; no message is none.
func wire(m proto.Message) (data []byte, err error) {
	if m == nil {
		return data, nil
	}
	typed, err := anypb.New(m)
	if err != nil {
		return nil, err
	}
	return proto.Marshal(typed)
}

func (w *written) decode() (Message, error) {
	request, err := unwire(w.Request)
	if err != nil {
		return Message{}, err
	}
	response, err := unwire(w.Response)
	if err != nil {
		return Message{}, err
	}
	m := Message{Call: w.Call, Stream: w.Stream, Request: request, Response: response}
	if w.Code != nil {
		m.Err = status.Error(*w.Code, w.Text)
	}
	return m, nil
}

func unwire(data []byte) (m proto.Message, err error) {
	if len(data) == 0 {
		return m, nil
	}
	var typed anypb.Any
	if err := proto.Unmarshal(data, &typed); err != nil {
		return nil, err
	}
	return typed.UnmarshalNew()
}

// Replay adds the process that has written a trace, which may end in the midst of a step.
func (r *Run) Replay(name string, trace io.Reader) error {
	p := r.process(name)
	in := json.NewDecoder(bufio.NewReader(trace))
	for n := 1; ; n++ {
		var l line
		switch err := in.Decode(&l); {
		case err == io.EOF, errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		case err != nil:
			return fmt.Errorf("spec: step %d of %s: %w", n, name, err)
		case l.Told != nil:
			r.add(p, l.At, *l.Told)
		case l.Message != nil:
			m, err := l.Message.decode()
			if err != nil {
				return fmt.Errorf("spec: step %d of %s: %w", n, name, err)
			}
			r.add(p, l.At, m)
		}
	}
}
