package lease_test

import (
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

// memberVariable holds the configuration of the etcd member that a re-executed
// test binary is to be: directory, client URL, name and initial cluster.
const memberVariable = "LEASE_TEST_ETCD_MEMBER"

// serveIfMember turns the process into an etcd member, until it is killed, where
// the environment says so: only a process of its own can be stopped by a signal.
func serveIfMember() {
	list := os.Getenv(memberVariable)
	if list == "" {
		return
	}
	if err := serve(strings.Split(list, " ")); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(1)
}

func serve(spec []string) error {
	dir, client, name, initial := spec[0], spec[1], spec[2], spec[3]
	cfg := embed.NewConfig()
	cfg.Name, cfg.Dir, cfg.InitialCluster = name, dir, initial
	clientURL, err := url.Parse(client)
	if err != nil {
		return err
	}
	var peer string
	for member := range strings.SplitSeq(initial, ",") {
		if of, at, _ := strings.Cut(member, "="); of == name {
			peer = at
		}
	}
	peerURL, err := url.Parse(peer)
	if err != nil {
		return err
	}
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{*clientURL}, []url.URL{*clientURL}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{*peerURL}, []url.URL{*peerURL}
	cfg.TickMs, cfg.ElectionMs = 10, 100
	cfg.UnsafeNoFsync = true
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	etcd, err := embed.StartEtcd(cfg)
	if err != nil {
		return err
	}
	defer etcd.Close()
	// Nobody stops this process but the test, by a signal. Should the test have
	// died before it could, a minute is the end of it.
	select {
	case err = <-etcd.Err():
		return err
	case <-time.After(time.Minute):
		return nil
	}
}
