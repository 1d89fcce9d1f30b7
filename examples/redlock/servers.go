package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/conclave-go/conclave/internal/redistest"
)

const (
	// serverBinary is what servers of our own run, if it is there.
	serverBinary = "redis-server"
	// callTimeout bounds what the parent itself asks of a server that is up.
	callTimeout = 5 * time.Second
)

// servers are the Redis nodes.
type servers struct {
	list []*server
	what string
}

// String says how many there are, and what.
func (s *servers) String() string { return fmt.Sprintf("%d, %s", len(s.list), s.what) }

// server is one of them.
type server struct {
	number  int    // from 1
	node    string // what clients connect with
	addr    string
	admin   *redis.Client
	cluster *redistest.Cluster // of this one; nil if it runs elsewhere
	since   time.Time          // when we started it
}

// openServers starts n nodes, or makes sure that those that are named answer. The
// caller closes them.
func openServers(ctx context.Context, named []string, n int) (*servers, error) {
	s := &servers{what: "processes of redis-server"}
	start := func() (*redistest.Cluster, error) { return redistest.Start(ctx, 1) }
	if _, err := exec.LookPath(serverBinary); err != nil {
		s.what = "miniredis, as there is no " + serverBinary
		start = func() (*redistest.Cluster, error) { return redistest.StartEmbedded(1) }
	}
	if named != nil {
		return openNamed(ctx, named)
	}
	for i := range n {
		c, err := start() // one by one: their clocks are moved one by one
		if err != nil {
			return nil, errors.Join(err, s.close())
		}
		node := c.Node(0)
		s.list = append(s.list, &server{
			number: i + 1, node: node.Addr(), addr: node.Addr(), admin: node.Admin(), cluster: c, since: time.Now(),
		})
	}
	return s, nil
}

func openNamed(ctx context.Context, named []string) (*servers, error) {
	s := &servers{}
	var addrs []string
	for i, node := range named {
		opts, err := nodeOptions(node)
		if err != nil {
			return nil, errors.Join(err, s.close())
		}
		srv := &server{number: i + 1, node: node, addr: opts.Addr, admin: redis.NewClient(opts)}
		s.list, addrs = append(s.list, srv), append(addrs, srv.addr)
		if err := srv.reach(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("no answer from Redis at %s: %w", srv.addr, err), s.close())
		}
	}
	s.what = "at " + strings.Join(addrs, ", ")
	return s, nil
}

func (s *server) reach(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return s.admin.Ping(ctx).Err()
}

// close ends the servers, or the connections to those that run elsewhere.
func (s *servers) close() error {
	var errs []error
	for _, srv := range s.list {
		if srv.cluster != nil {
			errs = append(errs, srv.cluster.Close())
			continue
		}
		errs = append(errs, srv.admin.Close())
	}
	return errors.Join(errs...)
}

// quorum is the least majority.
func (s *servers) quorum() int { return len(s.list)/2 + 1 }

// minority is how many may fail.
func (s *servers) minority() int { return len(s.list) - s.quorum() }

// eldestFirst returns the servers, those first that have been up for longest.
func (s *servers) eldestFirst() []*server {
	return slices.SortedStableFunc(slices.Values(s.list), func(x, y *server) int { return x.since.Compare(y.since) })
}

// isURL reports whether a node is more than host and port.
func isURL(node string) bool { return strings.Contains(node, "://") }

// elsewhere reports whether they are not ours to break.
func (s *servers) elsewhere() bool { return s.list[0].cluster == nil }

// restarts says what a restart without keys is.
func (s *servers) restarts() string {
	if s.elsewhere() {
		return "loses its key, as if it had restarted without"
	}
	return "restarts, without its keys"
}

// jumps says what a clock's jump is, where it is not one.
func (s *servers) jumps() string {
	if s.list[0].cluster != nil && s.list[0].cluster.Node(0).Embedded() {
		return ""
	}
	return " (as far as the key is concerned, by PEXPIRE)"
}
