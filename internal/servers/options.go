package servers

import "os"

// Option changes what [StartEtcd] starts.
type Option func(*config)

type config struct {
	members   int
	fsync     bool
	parent    string // of the data directory
	proxied   bool   // members reach each other through proxies
	spare     bool   // there is room for a learner
	snapshots uint64 // after so many entries; 0 is etcd's own default
	binary    string // of another version; "" is the one in this program
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

// WithPeerProxies lets members reach each other through proxies, for [Etcd.SlowPeers].
func WithPeerProxies() Option { return func(c *config) { c.proxied = true } }

// WithLearner reserves an address for one more member, the last of [Etcd.Endpoints], where
// nobody is until [Etcd.Join].
func WithLearner() Option { return func(c *config) { c.spare = true } }

// WithSnapshots lets a member that was away for n entries be sent a snapshot in place of
// them.
func WithSnapshots(n uint64) Option { return func(c *config) { c.snapshots = n } }

// WithBinary starts another version of etcd, an executable. Its members cannot be told to
// drop messages or to stall: [Etcd.Isolate], [Etcd.LosePeers] and [Etcd.StallDisk] fail.
func WithBinary(path string) Option { return func(c *config) { c.binary = path } }
