package etcdtest

import "fmt"

// Option configures [Start] and [New].
type Option func(*config)

type config struct {
	members int
	control bool
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

func newConfig(opts []Option) (config, error) {
	c := config{members: 1}
	for _, opt := range opts {
		opt(&c)
	}
	if c.members < 1 || c.members > 7 {
		return c, fmt.Errorf("etcdtest: %d members: must be 1 to 7", c.members)
	}
	return c, nil
}
