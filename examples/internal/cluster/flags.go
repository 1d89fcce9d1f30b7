package cluster

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/lease"
)

// defaultDialTimeout is etcdctl's.
const defaultDialTimeout = 2 * time.Second

// Flags say which etcd an example talks to. They are named like etcdctl's, and
// each takes its default from the variable that etcdctl would read:
// ETCDCTL_ENDPOINTS for -endpoints, and so on.
type Flags struct {
	endpoints, cacert, cert, key, user, password string
	serverName                                   string
	skipVerify, insecure                         bool
	dialTimeout                                  time.Duration
	environment                                  error // what is wrong with it
}

// Register adds the flags to fs.
func Register(fs *flag.FlagSet) *Flags {
	f := &Flags{}
	fs.StringVar(&f.endpoints, "endpoints", "", "comma-separated `addresses` of an etcd cluster; by default one is embedded")
	fs.StringVar(&f.cacert, "cacert", "", "`file` with the CA certificates to verify servers with")
	fs.StringVar(&f.cert, "cert", "", "`file` with the client's certificate")
	fs.StringVar(&f.key, "key", "", "`file` with the key to -cert")
	fs.StringVar(&f.serverName, "tls-server-name", "", "`name` expected in the server's certificate, if not the endpoint's")
	fs.StringVar(&f.user, "user", "", "`name[:password]` to log in with")
	fs.StringVar(&f.password, "password", "", "password of -user")
	fs.BoolVar(&f.skipVerify, "insecure-skip-tls-verify", false, "do not verify the server's certificate")
	fs.BoolVar(&f.insecure, "insecure-transport", true, "no TLS, unless another flag or an https endpoint asks for it")
	fs.DurationVar(&f.dialTimeout, "dial-timeout", defaultDialTimeout, "how long a connection may take")
	f.environment = fromEnvironment(fs)
	return f
}

// names lists the flags of this package, in the order of their help.
func names() []string {
	return []string{
		"endpoints", "cacert", "cert", "key", "tls-server-name", "user", "password",
		"insecure-skip-tls-verify", "insecure-transport", "dial-timeout",
	}
}

// Variable returns the environment variable that a flag takes its default from.
func Variable(flagName string) string {
	return "ETCDCTL_" + strings.ToUpper(strings.ReplaceAll(flagName, "-", "_"))
}

func fromEnvironment(fs *flag.FlagSet) error {
	for _, name := range names() {
		value, ok := os.LookupEnv(Variable(name))
		if !ok || value == "" {
			continue
		}
		if err := fs.Set(name, value); err != nil {
			return fmt.Errorf("environment variable %s: %q: %w", Variable(name), value, err)
		}
	}
	return nil
}

// Names reports whether a flag is one of this package's.
func Names(flagName string) bool {
	return slices.Contains(names(), flagName)
}

// Embedded reports whether no cluster was named.
func (f *Flags) Embedded() bool { return f.endpoints == "" }

// Check finds what is wrong with the flags, and with the TTL of leases.
func (f *Flags) Check(ttl time.Duration) error {
	if ttl%time.Second != 0 || ttl < lease.MinTTL || ttl > lease.MaxTTL {
		return fmt.Errorf("-ttl %s: must be whole seconds, %s to %s", ttl, lease.MinTTL, lease.MaxTTL)
	}
	_, err := f.Spec()
	return err
}

// Spec returns what a client needs to know, in a form that survives JSON. It fails also
// when a variable of the environment has a value that its flag would refuse.
func (f *Flags) Spec() (Spec, error) {
	if f.environment != nil {
		return Spec{}, f.environment
	}
	s := Spec{
		DialTimeout: f.dialTimeout,
		Secure: &clientv3.SecureConfig{
			Cert: f.cert, Key: f.key, Cacert: f.cacert, ServerName: f.serverName,
			InsecureTransport: f.insecure, InsecureSkipVerify: f.skipVerify,
		},
	}
	for e := range strings.SplitSeq(f.endpoints, ",") {
		if e = strings.TrimSpace(e); e != "" {
			s.Endpoints = append(s.Endpoints, e)
		}
	}
	if (f.cert == "") != (f.key == "") {
		return Spec{}, errors.New("-cert and -key belong together")
	}
	auth, err := f.auth()
	s.Auth = auth
	return s, err
}

// auth splits "name:password" as etcdctl does. It does not ask for a password.
func (f *Flags) auth() (*clientv3.AuthConfig, error) {
	if f.user == "" {
		return &clientv3.AuthConfig{}, nil
	}
	name, password, found := strings.Cut(f.user, ":")
	switch {
	case f.password != "":
		return &clientv3.AuthConfig{Username: f.user, Password: f.password}, nil
	case !found:
		return nil, errors.New("-user needs a password: -user name:password, -password or ETCDCTL_PASSWORD")
	}
	return &clientv3.AuthConfig{Username: name, Password: password}, nil
}
