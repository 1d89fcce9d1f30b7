package etcdtest

import (
	"fmt"
	"time"
)

// Option configures [Start] and [New].
type Option func(*config)

type config struct {
	members  int
	control  bool
	tokenTTL time.Duration // 0: the server's default
	streams  uint32        // 0: as many as there is memory for
	learner  bool
}

// WithMembers sets the number of members; the default is 1. More than one is
// never an external cluster.
func WithMembers(n int) Option {
	return func(c *config) {
		c.members = n
		c.control = c.control || n != 1
	}
}

// WithControl asks for a cluster of the test's own, whatever the environment
// says: one whose members may be stopped, compacted or put under authentication.
func WithControl() Option {
	return func(c *config) { c.control = true }
}

// WithTokenTTL lets the token of a user who is silent expire after ttl, in whole seconds,
// rather than etcd's five minutes. It asks for a cluster of the test's own.
func WithTokenTTL(ttl time.Duration) Option {
	return func(c *config) { c.tokenTTL, c.control = ttl, true }
}

// WithMaxStreams lets a connection have so many streams at a time, as some proxies and servers do. It
// asks for a cluster of the test's own.
func WithMaxStreams(n uint32) Option {
	return func(c *config) { c.streams, c.control = n, true }
}

// WithLearner adds a member, the last, that gets all data but has no vote yet: it answers no linearizable
// read and takes no write.
func WithLearner() Option {
	return func(c *config) { c.learner, c.control = true, true }
}

func newConfig(opts []Option) (config, error) {
	c := config{members: 1}
	for _, opt := range opts {
		opt(&c)
	}
	if c.members < 1 || c.members > 7 {
		return c, fmt.Errorf("etcdtest: %d members: must be 1 to 7", c.members)
	}
	if c.tokenTTL%time.Second != 0 || c.tokenTTL < 0 {
		return c, fmt.Errorf("etcdtest: token TTL %v: must be whole seconds", c.tokenTTL)
	}
	return c, nil
}
