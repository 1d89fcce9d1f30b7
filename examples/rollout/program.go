package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/watch"
)

const (
	lockName   = "rollout/lock"     // of those who write the configuration
	configKey  = "rollout/config/"  // and the name of a part
	appliedKey = "rollout/applied/" // and the name of a live reader: the version it has applied
)

// rolloutMain would be main in your copy: a reader until SIGTERM or Ctrl-C, or a writer, which
// makes one change.
func rolloutMain(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("rollout", flag.ExitOnError)
	endpoints := fs.String("endpoints", os.Getenv("ETCDCTL_ENDPOINTS"), "etcd's client `addresses`, separated by commas")
	ttl := fs.Duration("ttl", lease.DefaultTTL, "TTL of the lease: a writer waits this long for a dead reader")
	reader := fs.String("reader", "", "be a reader of this `name`")
	var c change
	fs.Func("set", "be a writer that makes this `change`, by part: {\"routes\": {\"blue\": 100}}", func(text string) error {
		return json.Unmarshal([]byte(text), &c)
	})
	_ = fs.Parse(args) // it exits if it fails
	if (*reader == "") == (c == nil) {
		return errors.New("either -reader or -set must be given")
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	client, err := clientv3.New(clientv3.Config{
		Endpoints: strings.Split(*endpoints, ","), DialKeepAliveTime: 10 * time.Second, DialKeepAliveTimeout: 5 * time.Second,
	})
	if err != nil {
		return err
	}
	defer client.Close()
	start, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	session, err := lease.NewSession(start, client, lease.WithTTL(*ttl), lease.WithLogger(slog.Default()))
	if err != nil {
		return err
	}
	defer session.Close(ctx)
	if *reader != "" {
		if err = read(ctx, client, session, *reader); ctx.Err() != nil {
			return nil // told to end, and it has
		}
		return err
	}
	if err = write(ctx, client, session, c); err != nil { // also if it was told to end before that
		return fmt.Errorf("not rolled out: %w", err)
	}
	return nil
}

// read applies each version, until ctx ends.
func read(ctx context.Context, client *clientv3.Client, session *lease.Session, name string) error {
	// Register before reading: a writer that does not see us yet has already written what we will
	// read.
	applied, err := lease.Register(ctx, session, appliedKey+name, "0")
	if err != nil {
		return err
	}
	slog.Info("registered")
	has := make(config)
	for batch, err := range watch.Stream(ctx, client, configKey, watch.WithPrefix(), watch.WithSnapshot(), watch.WithLogger(slog.Default())) {
		if err != nil {
			return err
		}
		version, err := has.take(batch.Events...) // of whole revisions, see watch.Batch
		if err != nil {
			return fmt.Errorf("at revision %d: %w", batch.Revision, err)
		}
		slog.Info("applied", "version", version) // here a service would switch
		if err := applied.Update(ctx, strconv.Itoa(version)); err != nil {
			return err
		}
	}
	return ctx.Err()
}
