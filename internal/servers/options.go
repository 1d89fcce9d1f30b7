package servers

import "os"

// Option changes what [StartEtcd] starts.
type Option func(*config)

type config struct {
	members int
	fsync   bool
	parent  string // of the data directory
}

func newConfig(opts []Option) config {
	cfg := config{members: members, parent: os.TempDir()}
	for _, opt := range opts {
		opt(&cfg)
	}
	return cfg
}

// WithOneMember starts one member in place of three.
func WithOneMember() Option { return func(c *config) { c.members = 1 } }

// WithFsync lets members write to disk before they answer, as in production. Otherwise
// they survive their processes but not the machine.
func WithFsync() Option { return func(c *config) { c.fsync = true } }

// WithDataIn keeps the data in a new directory below parent, which is removed with the
// cluster. The default is [os.TempDir].
func WithDataIn(parent string) Option { return func(c *config) { c.parent = parent } }
