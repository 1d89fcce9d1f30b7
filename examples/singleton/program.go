package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/election"
	"github.com/conclave-go/conclave/lease"
)

// drainTimeout is how long requests may go on after SIGTERM. It has to fit into
// terminationGracePeriodSeconds, see deployment.yaml.
const drainTimeout = 10 * time.Second

// singletonMain would be main in your copy: it stands by until it is elected, and serves while
// it is active, until SIGTERM or Ctrl-C.
func singletonMain(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("singleton", flag.ExitOnError)
	endpoints := fs.String("endpoints", os.Getenv("ETCDCTL_ENDPOINTS"), "etcd's client `addresses`, separated by commas")
	ttl := fs.Duration("ttl", lease.DefaultTTL, "TTL of the lease: after a crash nobody serves for this long")
	listen := fs.String("listen", ":8080", "`address` to serve at")
	_ = fs.Parse(args) // it exits if it fails
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	client, err := clientv3.New(clientv3.Config{Endpoints: strings.Split(*endpoints, ","), DialKeepAliveTime: 10 * time.Second, DialKeepAliveTimeout: 5 * time.Second})
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
	defer session.Close(ctx) // with a ctx that is done, too: the next serves at once
	service, err := election.New(session, "singleton")
	if err != nil {
		return err
	}
	host, _ := os.Hostname() // the pod's name, shown by "conclave inspect"
	lead := func(ctx context.Context, t *election.Term) error { return serve(ctx, t, *listen) }
	if err = service.Run(ctx, host, lead); ctx.Err() != nil {
		return nil // told to end, and it has
	}
	return err
}

// serve serves until the term ends, or ctx does: then the requests under way are answered
// first, and only after that does the next replica become active.
func serve(ctx context.Context, t *election.Term, listen string) error {
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	defer slog.Info("stopped", "token", t.Token())
	server := &http.Server{
		Handler:           handler(t),
		ReadHeaderTimeout: 5 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return t.Context() }, // requests end with the term
	}
	defer server.Close()
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }() // ends with Shutdown or Close
	slog.Info("serving", "address", listener.Addr().String(), "token", t.Token(), "until", t.Deadline())
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	within, cancel := context.WithTimeout(t.Context(), drainTimeout) // no longer than the term lasts
	defer cancel()
	if err := server.Shutdown(within); err != nil {
		slog.Warn("requests were cut off", "error", err)
	}
	return nil
}

// handler is the service: it says who it is.
func handler(t *election.Term) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /readyz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /", func(w http.ResponseWriter, _ *http.Request) {
		slog.Info("answering", "token", t.Token(), "until", t.Deadline())
		_, _ = fmt.Fprintf(w, "token %s\n", t.Token()) // and give it to whatever is written to
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if t.Err() != nil { // it was paused, and another serves
			http.Error(w, "not active any more", http.StatusServiceUnavailable)
			return
		}
		mux.ServeHTTP(w, r)
	})
}
