package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/conclave-go/conclave/redlock"
)

// invoices is a file in which each line is the number of an invoice: one more than the line
// before. The file has no way to tell whose line comes too late.
type invoices struct {
	file          string
	work, latency time.Duration
}

// redlockMain would be main in your copy: it writes invoices under the lock until SIGTERM or
// Ctrl-C.
func redlockMain(ctx context.Context, args []string) error {
	var to invoices
	fs := flag.NewFlagSet("redlock", flag.ExitOnError)
	nodes := fs.String("nodes", "localhost:6379", "`addresses` of Redis servers that know nothing of each other, separated by commas")
	name := fs.String("lock", "invoices", "`name` of the lock")
	ttl := fs.Duration("ttl", redlock.DefaultTTL, "TTL of the lock: after a crash nobody has it for this long")
	minUptime := fs.Duration("min-uptime", 0, "minimum uptime before a server's vote counts; use the TTL if servers may lose keys")
	fs.StringVar(&to.file, "file", "invoices.txt", "`file` to write invoices to")
	fs.DurationVar(&to.work, "work", time.Second, "simulated work for each invoice")
	fs.DurationVar(&to.latency, "latency", 0, "simulated latency of a write")
	_ = fs.Parse(args) // it exits if it fails
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	var clients []redis.UniversalClient
	for address := range strings.SplitSeq(*nodes, ",") {
		clients = append(clients, redis.NewClient(&redis.Options{Addr: address, ContextTimeoutEnabled: true, DialerRetries: 1}))
	}
	defer func() {
		for _, client := range clients {
			_ = client.Close()
		}
	}()
	options := []redlock.Option{redlock.WithTTL(*ttl), redlock.WithLogger(slog.Default())}
	if *minUptime > 0 {
		options = append(options, redlock.WithMinUptime(*minUptime))
	}
	servers, err := redlock.NewNodes(clients, options...)
	if err != nil {
		return err
	}
	defer servers.Close(ctx) // with a ctx that is done, too: nothing is left on servers that answer
	mutex, err := redlock.NewMutex(servers, *name)
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		err := mutex.Do(ctx, to.write)
		if err == nil || ctx.Err() != nil {
			continue
		}
		slog.Warn("not written", "error", err)
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	return nil
}

// write writes the next invoice under the lock. It checks the hold first. After that, nothing
// can stop a late write: the file has no token to refuse it by.
func (to *invoices) write(ctx context.Context, h *redlock.Hold) error {
	slog.Info("holds", "until", h.Deadline())
	defer func() { slog.Info("stopped", "until", h.Deadline()) }()
	text, err := os.ReadFile(to.file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	number := bytes.Count(text, []byte("\n")) + 1
	select {
	case <-time.After(to.work): // your work goes here
	case <-ctx.Done(): // the lock is lost, or this is told to end
		return context.Cause(ctx)
	}
	if err := h.Err(); err != nil {
		return err
	}
	slog.Info("writing", "number", number)
	<-time.After(to.latency) // as over a network
	file, err := os.OpenFile(to.file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(file, number)
	slog.Info("wrote", "number", number)
	return errors.Join(err, file.Close())
}
