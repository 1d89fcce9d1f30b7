package conclaveotel

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/conclave-go/conclave/lease"
)

// scope is the name of the instrumentation.
const scope = "github.com/conclave-go/conclave/conclaveotel"

// The attributes of spans and events.
const (
	kindAttr                = attribute.Key("conclave.lock.kind")
	nameAttr                = attribute.Key("conclave.lock.name")
	keyAttr                 = attribute.Key("conclave.lock.key")
	revisionAttr            = attribute.Key("conclave.lock.revision")
	sequenceAttr            = attribute.Key("conclave.lock.sequence")
	viaAttr                 = attribute.Key("conclave.lock.via")
	predecessorAttr         = attribute.Key("conclave.lock.predecessor.key")
	predecessorRevisionAttr = attribute.Key("conclave.lock.predecessor.revision")
	linkAttr                = attribute.Key("conclave.link")
	errorTypeAttr           = attribute.Key("error.type")
)

// Tracer makes spans of the locks and elections of any number of sessions. Use [New];
// the zero value is not valid.
type Tracer struct {
	tracer trace.Tracer
	recent *recent
}

// New returns a tracer without sessions: those are made with the observer that Lease
// returns.
func New(opts ...Option) (*Tracer, error) {
	c, err := newConfig(opts)
	if err != nil {
		return nil, err
	}
	return &Tracer{tracer: c.provider.Tracer(scope), recent: &recent{spans: make(map[entry]holder)}}, nil
}

// Lease returns the observer for sessions, with the locks and elections on them.
func (t *Tracer) Lease() lease.Observer {
	return lease.Observer{
		Acquiring: t.acquiring,
		Waiting:   t.waiting,
		Waited:    t.waited,
		Granted:   t.granted,
		Failed:    t.failed,
		Released:  t.released,
		Releasing: t.releasing,
		Removed:   t.removed,
	}
}

// spanKey is the key of a tracer's span in a context: what else observers have put there
// may be another's.
type spanKey struct{ tracer *Tracer }

func (t *Tracer) span(ctx context.Context) trace.Span {
	if span, ok := ctx.Value(spanKey{t}).(trace.Span); ok {
		return span
	}
	return noop.Span{} // begun before the tracer was there
}

// start begins a span, for an election the second name.
func (t *Tracer) start(ctx context.Context, e lease.Event, lock, election string, links ...trace.Link) context.Context {
	name := lock
	if e.Kind == "election" {
		name = election
	}
	ctx, span := t.tracer.Start(ctx, name, trace.WithLinks(links...),
		trace.WithAttributes(kindAttr.String(e.Kind), nameAttr.String(e.Name)))
	return context.WithValue(ctx, spanKey{t}, span)
}

func (t *Tracer) acquiring(ctx context.Context, e lease.Event) context.Context {
	return t.start(ctx, e, "conclave.Lock", "conclave.Campaign")
}

func (t *Tracer) waiting(e lease.Event) {
	t.span(e.Context).AddEvent("conclave.waiting", trace.WithAttributes(predecessor(e)...))
}

func (t *Tracer) waited(e lease.Event) {
	var why []attribute.KeyValue
	if e.Err != nil {
		why = append(why, errorTypeAttr.String(e.Reason.String()))
	}
	t.span(e.Context).AddEvent("conclave.waited", trace.WithAttributes(why...))
}

func (t *Tracer) granted(e lease.Event) {
	span := t.span(e.Context)
	followed := t.recent.granted(entry{e.Key, e.Revision}, entry{e.Predecessor, e.Followed}, span.SpanContext())
	if followed.IsValid() {
		span.AddLink(trace.Link{SpanContext: followed, Attributes: []attribute.KeyValue{linkAttr.String("followed")}})
	}
	span.SetAttributes(hold(e)...)
	span.SetAttributes(predecessor(e)...)
	span.End()
}

func (t *Tracer) failed(e lease.Event) {
	span := t.span(e.Context)
	span.SetAttributes(errorTypeAttr.String(e.Reason.String()))
	if e.Reason != lease.ReasonTaken {
		span.SetStatus(codes.Error, e.Err.Error())
	}
	span.End()
}

func (t *Tracer) released(e lease.Event) {
	t.recent.released(entry{e.Key, e.Revision})
	if e.Err == nil {
		return
	}
	trace.SpanFromContext(e.Context).AddEvent("conclave.lost", trace.WithAttributes(append(hold(e),
		kindAttr.String(e.Kind), nameAttr.String(e.Name), errorTypeAttr.String(e.Reason.String()))...))
}

func (t *Tracer) releasing(ctx context.Context, e lease.Event) context.Context {
	var links []trace.Link
	if taken := t.recent.of(entry{e.Key, e.Revision}); taken.IsValid() {
		links = append(links, trace.Link{SpanContext: taken, Attributes: []attribute.KeyValue{linkAttr.String("hold")}})
	}
	ctx = t.start(ctx, e, "conclave.Unlock", "conclave.Resign", links...)
	t.span(ctx).SetAttributes(hold(e)...)
	return ctx
}

func (t *Tracer) removed(e lease.Event) {
	span := t.span(e.Context)
	if e.Err != nil {
		span.SetAttributes(errorTypeAttr.String(e.Reason.String()))
		span.SetStatus(codes.Error, e.Err.Error())
	}
	span.End()
}

// hold returns the attributes of what is held.
func hold(e lease.Event) []attribute.KeyValue {
	return []attribute.KeyValue{
		keyAttr.String(e.Key), revisionAttr.Int64(e.Revision), sequenceAttr.Int(e.Sequence), viaAttr.String(e.Via.String()),
	}
}

// predecessor returns the attributes of whom an acquisition waits for, or has followed.
func predecessor(e lease.Event) []attribute.KeyValue {
	if e.Predecessor == "" {
		return nil
	}
	return []attribute.KeyValue{predecessorAttr.String(e.Predecessor), predecessorRevisionAttr.Int64(e.Followed)}
}
