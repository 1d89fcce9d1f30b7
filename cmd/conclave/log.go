package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// lines is a log of lines that begin as all that this program says on stderr.
type lines struct {
	mu    *sync.Mutex // serialises writes to to
	to    io.Writer
	level slog.Level
	quiet []string // messages that are left out begin so
	attrs []slog.Attr
}

// Enabled implements [slog.Handler].
func (l *lines) Enabled(_ context.Context, level slog.Level) bool { return level >= l.level }

// WithAttrs implements [slog.Handler].
func (l *lines) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *l
	with.attrs = append(slices.Clip(l.attrs), attrs...)
	return &with
}

// WithGroup implements [slog.Handler]. The library has no groups.
func (l *lines) WithGroup(string) slog.Handler { return l }

// Handle implements [slog.Handler].
func (l *lines) Handle(_ context.Context, r slog.Record) error {
	for _, q := range l.quiet {
		if strings.HasPrefix(r.Message, q) {
			return nil
		}
	}
	var text strings.Builder
	text.WriteString("conclave: " + r.Message)
	add := func(a slog.Attr) bool {
		fmt.Fprintf(&text, " %s=%q", a.Key, a.Value.String())
		return true
	}
	for _, a := range l.attrs {
		add(a)
	}
	r.Attrs(add)
	l.mu.Lock()
	defer l.mu.Unlock()
	_, err := fmt.Fprintln(l.to, text.String())
	return err
}

// clientLogger is the log of clients. Observers of elections write to it, too, and only what they say is passed on: what
// clientv3 says there comes back as an error as well.
func (a *app) clientLogger() *zap.Logger { return zap.New(observers{zapcore.WarnLevel, a.logger()}) }

// observers implements [zapcore.Core].
type observers struct {
	zapcore.Level

	log *slog.Logger
}

// With implements [zapcore.Core]. Observers have no fields.
func (o observers) With([]zapcore.Field) zapcore.Core { return o }

// Check implements [zapcore.Core].
func (o observers) Check(e zapcore.Entry, c *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if o.Enabled(e.Level) && strings.HasPrefix(e.Message, "election: ") {
		return c.AddCore(e, o)
	}
	return c
}

// Write implements [zapcore.Core].
func (o observers) Write(e zapcore.Entry, _ []zapcore.Field) error {
	o.log.Warn(e.Message)
	return nil
}

// Sync implements [zapcore.Core].
func (observers) Sync() error { return nil }
