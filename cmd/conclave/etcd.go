package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/pflag"
	"go.etcd.io/etcd/client/pkg/v3/srv"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"golang.org/x/term"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
)

// etcdFlags say which etcd to talk to. They are named as etcdctl's, with its defaults, and
// each is also taken from the variable that etcdctl reads: ETCDCTL_ENDPOINTS and so on.
type etcdFlags struct {
	endpoints                       []string
	cacert, cert, key, serverName   string
	user, password                  string
	insecureTransport, insecureSkip bool
	dialTimeout, commandTimeout     time.Duration
	keepAliveTime, keepAliveTimeout time.Duration
	discoverySRV, discoverySRVName  string
	insecureDiscovery               bool
	names                           []string      // of all these flags
	resolved                        []string      // the endpoints in use
	dns                             *net.Resolver // nil is the system's
}

func (f *etcdFlags) register(fs *pflag.FlagSet) {
	own := pflag.NewFlagSet("etcd", pflag.ContinueOnError)
	own.StringSliceVar(&f.endpoints, "endpoints", []string{"127.0.0.1:2379"}, "etcd's client `addresses`")
	own.StringVar(&f.cacert, "cacert", "", "`file` with the CA certificates to verify servers with")
	own.StringVar(&f.cert, "cert", "", "`file` with the client's certificate")
	own.StringVar(&f.key, "key", "", "`file` with the key of --cert")
	own.StringVar(&f.serverName, "tls-server-name", "", "`name` expected in the server's certificate, if not the endpoint's")
	own.StringVar(&f.user, "user", "", "`name[:password]` to log in with; without a password, it is asked for on a terminal")
	own.StringVar(&f.password, "password", "", "`password` of --user, which then is only the name")
	own.BoolVar(&f.insecureTransport, "insecure-transport", true, "no TLS, unless another flag or an https endpoint asks for it")
	own.BoolVar(&f.insecureSkip, "insecure-skip-tls-verify", false, "do not verify the server's certificate (for tests)")
	own.DurationVar(&f.dialTimeout, "dial-timeout", 2*time.Second, "how long a connection may take")
	own.DurationVar(&f.commandTimeout, "command-timeout", 5*time.Second, "how long etcd may take to answer, not counting the wait for a lock")
	own.DurationVar(&f.keepAliveTime, "keepalive-time", 2*time.Second, "how often an idle connection is tested")
	own.DurationVar(&f.keepAliveTimeout, "keepalive-timeout", 6*time.Second, "how long such a test may take")
	own.StringVarP(&f.discoverySRV, "discovery-srv", "d", "", "`domain` with SRV records of the endpoints")
	own.StringVar(&f.discoverySRVName, "discovery-srv-name", "", "service `name` of those records")
	own.BoolVar(&f.insecureDiscovery, "insecure-discovery", true, "accept SRV records of endpoints without TLS")
	own.VisitAll(func(flag *pflag.Flag) { f.names = append(f.names, flag.Name) })
	fs.AddFlagSet(own)
}

// variable is the environment variable that a flag is also taken from.
func variable(flag string) string {
	return "ETCDCTL_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// environment sets the flags that were not given from their variables.
func (f *etcdFlags) environment(fs *pflag.FlagSet) error {
	for _, name := range f.names {
		flag := fs.Lookup(name)
		value := os.Getenv(variable(name))
		if flag == nil || flag.Changed || value == "" {
			continue
		}
		if err := fs.Set(name, value); err != nil {
			return usagef("variable %s=%q: %w", variable(name), value, err)
		}
	}
	return nil
}

// client connects, or ends with ctx meanwhile. What matters comes back as an error, or from the session.
func (a *app) client(ctx context.Context) (*clientv3.Client, error) {
	spec, err := a.spec(ctx)
	if err != nil {
		return nil, err
	}
	cfg, err := clientv3.NewClientConfig(spec, zap.NewNop())
	if err != nil {
		return nil, usagef("--cacert %q, --cert %q, --key %q: %w", a.etcd.cacert, a.etcd.cert, a.etcd.key, err)
	}
	cfg.Logger, a.tls = a.clientLogger(), cfg.TLS
	cfg.DialOptions = append(cfg.DialOptions, a.etcd.reconnecting())
	client, err := connect(ctx, *cfg)
	if err != nil {
		return nil, interrupted(ctx, a.etcd.explain(ctx, err))
	}
	return client, nil
}

// connect is [clientv3.New], which logs in, but ends with ctx meanwhile. The client goes on after that.
func connect(ctx context.Context, cfg clientv3.Config) (*clientv3.Client, error) {
	var cancel context.CancelFunc
	cfg.Context, cancel = context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, cancel)
	client, err := clientv3.New(cfg)
	if inTime := stop(); err == nil && !inTime {
		err = errors.Join(context.Cause(ctx), client.Close())
	}
	if err != nil {
		cancel()
		return nil, err
	}
	return client, nil
}

// reconnecting has a client connect again as soon as an outage is over. By default gRPC waits longer and longer, up to two
// minutes, and what is held would be lost meanwhile.
func (f *etcdFlags) reconnecting() grpc.DialOption {
	return grpc.WithConnectParams(grpc.ConnectParams{
		Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
		MinConnectTimeout: f.dialTimeout,
	})
}

func (a *app) spec(ctx context.Context) (*clientv3.ConfigSpec, error) {
	f := &a.etcd
	if err := f.check(); err != nil {
		return nil, err
	}
	auth, err := a.credentials(ctx)
	if err != nil {
		return nil, err
	}
	if f.resolved, err = f.discover(ctx); err != nil {
		return nil, err
	}
	return &clientv3.ConfigSpec{
		Endpoints: f.resolved, DialTimeout: f.dialTimeout,
		KeepAliveTime: f.keepAliveTime, KeepAliveTimeout: f.keepAliveTimeout,
		Secure: &clientv3.SecureConfig{
			Cert: f.cert, Key: f.key, Cacert: f.cacert, ServerName: f.serverName,
			InsecureTransport: f.insecureTransport, InsecureSkipVerify: f.insecureSkip,
		},
		Auth: auth,
	}, nil
}

func (f *etcdFlags) check() error {
	switch {
	case (f.cert == "") != (f.key == ""):
		return usagef("--cert %q, --key %q: must be given together", f.cert, f.key)
	case f.dialTimeout <= 0:
		return usagef("--dial-timeout %s: must be more than 0", f.dialTimeout)
	case f.commandTimeout <= 0:
		return usagef("--command-timeout %s: must be more than 0", f.commandTimeout)
	}
	return nil
}

// discover returns the endpoints: those that were given, or those of the SRV records.
func (f *etcdFlags) discover(ctx context.Context) ([]string, error) {
	if f.discoverySRV == "" {
		var endpoints []string
		for _, e := range f.endpoints {
			if e = strings.TrimSpace(e); e != "" {
				endpoints = append(endpoints, e)
			}
		}
		if len(endpoints) == 0 {
			return nil, usagef("--endpoints %q: must be at least one address", f.endpoints)
		}
		return endpoints, nil
	}
	endpoints, err := f.lookUp(ctx)
	switch {
	case err != nil:
		return nil, interrupted(ctx, &exitError{code: exitUnavailable, err: fmt.Errorf("--discovery-srv %q: %w", f.discoverySRV, err)})
	case f.insecureDiscovery:
		return endpoints, nil
	}
	var secure []string
	for _, e := range endpoints {
		if strings.HasPrefix(e, "https://") {
			secure = append(secure, e)
		}
	}
	if len(secure) == 0 {
		return nil, usagef("--discovery-srv %q: no endpoint is https, and --insecure-discovery=false", f.discoverySRV)
	}
	return secure, nil
}

// lookUp returns the endpoints of the SRV records, as [srv.GetClient] does, but ends with ctx.
func (f *etcdFlags) lookUp(ctx context.Context) ([]string, error) {
	var endpoints []string
	var failures []error
	for _, scheme := range []string{"https", "http"} {
		service := srv.GetSRVService("etcd-client", f.discoverySRVName, scheme)
		_, records, err := f.dns.LookupSRV(ctx, service, "tcp", f.discoverySRV)
		if err != nil {
			failures = append(failures, err)
		}
		for _, r := range records {
			endpoints = append(endpoints, scheme+"://"+net.JoinHostPort(r.Target, strconv.Itoa(int(r.Port))))
		}
	}
	if len(failures) == 2 { // one of both is enough
		return nil, errors.Join(failures...)
	}
	return endpoints, nil
}

// credentials splits "name:password" as etcdctl does.
func (a *app) credentials(ctx context.Context) (*clientv3.AuthConfig, error) {
	f := &a.etcd
	name, password, found := strings.Cut(f.user, ":")
	switch {
	case f.user == "" && f.password != "":
		return nil, usagef("--password without --user: must be given together")
	case f.user == "":
		return nil, nil //nolint:nilnil // clientv3's way to say that nobody logs in
	case f.password != "":
		return &clientv3.AuthConfig{Username: f.user, Password: f.password}, nil
	case found:
		return &clientv3.AuthConfig{Username: name, Password: password}, nil
	case !term.IsTerminal(int(a.in.Fd())):
		return nil, usagef("--user %q: needs a password: --user name:password, --password or ETCDCTL_PASSWORD", f.user)
	}
	secret, err := a.askPassword(ctx, name)
	return &clientv3.AuthConfig{Username: name, Password: secret}, err
}

// asks reports whether a password has to be asked for.
func (f *etcdFlags) asks() bool {
	return f.user != "" && f.password == "" && !strings.Contains(f.user, ":")
}

// console is a terminal in raw mode. It is read byte by byte: what is typed after a line is for the command.
type console struct {
	in io.Reader
	io.Writer
}

// Read reads a byte.
func (c console) Read(p []byte) (int, error) { return c.in.Read(p[:min(1, len(p))]) }

// askPassword asks for a password on the terminal until ctx ends. The terminal's mode is set and restored here, not
// where it is read, which may be stuck: whatever happens, what is typed later is shown again.
func (a *app) askPassword(ctx context.Context, name string) (string, error) {
	fd := int(a.in.Fd())
	before, err := term.MakeRaw(fd)
	if err != nil {
		return "", err
	}
	defer func() { _ = term.Restore(fd, before) }() // it could be set, too
	type answer struct {
		secret string
		err    error
	}
	answers := make(chan answer, 1)
	go func() { // ends with the answer, or with the process
		secret, err := term.NewTerminal(console{a.in, a.err}, "").ReadPassword("password of " + name + ": ")
		answers <- answer{secret, err}
	}()
	select {
	case got := <-answers:
		if errors.Is(got.err, io.EOF) { // Ctrl-C, which is no signal in this mode, or Ctrl-D
			_, _ = fmt.Fprint(a.err, "\r\n")
			return "", interruption{os.Interrupt}
		}
		return got.secret, got.err
	case <-ctx.Done():
		_, _ = fmt.Fprint(a.err, "\r\n")
		return "", context.Cause(ctx)
	}
}

// request makes a request, which may be made several times, until it is answered or refused, or ctx ends. A member that is cut
// off from its peers refuses it at once, and one that is silent has a second, twice as long the next time, so that another is
// asked.
func request[T any](ctx context.Context, try func(context.Context) (T, error)) (got T, err error) {
	const pause = 50 * time.Millisecond
	ctx = clientv3.WithRequireLeader(ctx)
	for patience := time.Second; ; patience *= 2 {
		err = within(ctx, patience, func(ctx context.Context) error {
			got, err = try(ctx)
			return err
		})
		if err == nil || refused(err) {
			return got, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return got, err
		}
	}
}

// explain adds endpoints, and the cause where the client only says that the time is over. It looks for that until ctx ends.
func (f *etcdFlags) explain(ctx context.Context, err error) error {
	where := strings.Join(f.resolved, ",")
	if strings.Contains(err.Error(), f.resolved[0]) { // it has been said
		return err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		if cause := f.dial(ctx); cause != nil {
			return fmt.Errorf("etcd at %s: %w: %w", where, err, cause)
		}
	}
	return fmt.Errorf("etcd at %s: %w", where, err)
}

// dial returns why none of the endpoints can be connected to, nil if one can. It tries all at once.
func (f *etcdFlags) dial(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	failures := make([]error, len(f.resolved))
	var all sync.WaitGroup
	for i, e := range f.resolved {
		all.Go(func() {
			if failures[i] = f.dialOne(ctx, e); failures[i] == nil {
				cancel() // that one is enough
			}
		})
	}
	all.Wait()
	if slices.Contains(failures, nil) {
		return nil
	}
	return errors.Join(failures...)
}

func (f *etcdFlags) dialOne(ctx context.Context, endpoint string) error {
	network, address := "tcp", endpoint
	if u, err := url.Parse(endpoint); err == nil && u.Host != "" {
		address = u.Host
	}
	if path, ok := strings.CutPrefix(endpoint, "unix://"); ok {
		network, address = "unix", path
	}
	conn, err := (&net.Dialer{Timeout: f.dialTimeout}).DialContext(ctx, network, address)
	if err != nil {
		return err
	}
	return conn.Close()
}
