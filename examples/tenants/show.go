package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/examples/internal/screen"
	"github.com/conclave-go/conclave/examples/internal/theatre"
	"github.com/conclave-go/conclave/lock"
)

// show changes what is wanted and what is allowed, and watches the actual state in etcd and what
// the copies log.
type show struct {
	*theatre.Stage

	pull    time.Duration
	address map[string]string // by copy
	leader  string
	knows   map[about]int64 // the version
	reads   map[about]int   // on a miss
	pushes  int             // heard
	refused int             // failures, of whatever product
	want    map[string]int  // instances, by TENANT/rs/NAME
	has     map[string]int  // the same as it was seen last
}

// about is what a copy knows of a tenant.
type about struct{ copy, tenant string }

func (s *show) flags(fs *flag.FlagSet) (check func() error) {
	fs.DurationVar(&s.pull, "pull", time.Second, "how often replicas pull all policies")
	return func() error {
		if s.pull <= 0 {
			return fmt.Errorf("-pull %s: must be positive", s.pull)
		}
		return nil
	}
}

func (s *show) acts(ctx context.Context, stage *theatre.Stage) {
	s.Stage, stage.Hear, stage.Patience = stage, s.hear, stage.Patience+3*s.pull
	s.address, s.knows, s.reads = make(map[string]string), make(map[about]int64), make(map[about]int)
	s.want, s.has = make(map[string]int), make(map[string]int)
	s.Act("1/4  Three replicas: one is elected and runs what two tenants want.")
	s.elect(ctx)
	s.Act("2/4  Policies change; pushes come twice, out of order, or not at all.")
	s.change(ctx)
	s.Act("3/4  More is wanted than allowed: retried, less and less often.")
	s.exceed(ctx)
	s.Act("4/4  The leader is killed: the next begins with every product.")
	s.kill(ctx)
	s.CheckHistory(ctx, "tenant/running/", term) // an old leader's order after a newer one's
	s.Conclude("%d products are as they should be, and no old leader's order came after a newer leader's.", len(s.has))
}

// hear records what a copy logs, and fails if it should not have happened.
func (s *show) hear(l theatre.Line) error {
	var a struct {
		Address, Tenant, From string
		Key, Error            string
		Version               int64
		Token                 lock.Token
	}
	if l.Msg == theatre.Ended {
		return nil
	}
	if err := l.Read(&a); err != nil {
		return err
	}
	of := about{l.Copy, a.Tenant}
	if a.From == "pushed" {
		s.pushes++
	}
	switch l.Msg {
	case "ready":
		s.address[l.Copy] = a.Address
	case "leading":
		s.leader = l.Copy
		s.TellAt(l.Time, s.Styles.Good, "%s is elected, term %s", l.Copy, a.Token)
	case "watch: reconcile failed":
		s.refused++
		s.TellAt(l.Time, s.Styles.Bad, "%s cannot scale %s: %s", l.Copy, short(strings.TrimPrefix(a.Key, "tenant/info/")), a.Error)
	case "ignored":
		s.TellAt(l.Time, s.Styles.Dim, "%s ignores version %d of %s, %s", l.Copy, a.Version, a.Tenant, a.From)
	case "learned":
		s.TellAt(l.Time, lipgloss.Style{}, "%s learns version %d of %s, %s", l.Copy, a.Version, a.Tenant, a.From)
		if a.From == "missed" {
			s.reads[of]++
		}
		if a.Version <= s.knows[of] || s.reads[of] > 1 {
			return fmt.Errorf("%s learns version %d of %s after %d, and has read it %d times", l.Copy, a.Version, a.Tenant, s.knows[of], s.reads[of])
		}
		s.knows[of] = a.Version
	}
	return nil
}

// elect starts the replicas: the first leader has everything to do.
func (s *show) elect(ctx context.Context) {
	for _, tenant := range []string{"acme", "globex"} {
		s.publish(ctx, tenant, 3)
		s.wish(ctx, tenant, map[string]int{"mail": 1, "search": 3, "wiki": 2})
	}
	for _, name := range []string{"r1", "r2", "r3"} {
		s.Start(name, "-pull", s.pull.String())
		s.Until(ctx, name, func() bool { return s.address[name] != "" })
	}
	s.awaitWishes(ctx)
	// That the leader has read them comes in its log, which may take longer.
	acme, globex := about{s.leader, "acme"}, about{s.leader, "globex"}
	s.Until(ctx, "the policies", func() bool { return s.knows[acme] > 0 && s.knows[globex] > 0 })
	s.Say(s.Styles.Title, "%d products of 2 tenants, %d at a time: %d policies read", len(s.want), runners, s.reads[acme]+s.reads[globex])
}

// change pushes policies as a network would: twice, out of order, or not at all.
func (s *show) change(ctx context.Context) {
	versions := []policy{s.publish(ctx, "acme", 4), s.publish(ctx, "acme", 5), s.publish(ctx, "acme", 6)}
	s.Say(s.Styles.Title, "acme: versions %d, %d, %d are pushed as 3rd, 1st, 2nd, 3rd", versions[0].Version, versions[1].Version, versions[2].Version)
	order := []int{2, 0, 1, 2}
	heard := s.pushes + len(order)*len(s.address)
	for _, i := range order {
		s.push(ctx, versions[i])
	}
	s.Until(ctx, "the pushes", func() bool { return s.pushes == heard && s.know(versions[2]) })
	lost := s.publish(ctx, "globex", 5)
	s.Say(s.Styles.Title, "globex: version %d, and the push is lost", lost.Version)
	s.Until(ctx, "a pull by all", func() bool { return s.know(lost) })
}

// exceed wants more than a policy allows, and then changes the policy.
func (s *show) exceed(ctx context.Context) {
	const more, tries = 9, 4
	before := s.refused
	s.wish(ctx, "globex", map[string]int{"search": more})
	s.Until(ctx, "several tries", func() bool { return s.refused >= before+tries })
	p := s.publish(ctx, "globex", more)
	s.Say(s.Styles.Title, "globex: version %d allows %d, pushed", p.Version, more)
	s.push(ctx, p)
	s.awaitWishes(ctx)
}

// kill kills the leader, and changes what is wanted while nobody leads.
func (s *show) kill(ctx context.Context) {
	old, began := s.leader, time.Now()
	s.Do(func() error { return s.Copy(old).Kill() })
	s.Say(s.Styles.Title, "%s, which leads, is killed (SIGKILL)", old)
	s.wish(ctx, "acme", map[string]int{"mail": 2, "wiki": 0})
	s.Say(lipgloss.Style{}, "acme wants 2 of mail, and no wiki any more")
	s.Until(ctx, "another leader", func() bool { return s.leader != old })
	s.Say(lipgloss.Style{}, "... %s after the kill (TTL %s)", screen.Short(time.Since(began)), s.TTL)
	s.awaitWishes(ctx)
}

// wish changes what is wanted of some products of a tenant, all in one transaction.
func (s *show) wish(ctx context.Context, tenant string, products map[string]int) {
	var ops []clientv3.Op
	for name, n := range products {
		key := tenant + "/rs/" + name
		if n == 0 {
			delete(s.want, key)
			ops = append(ops, clientv3.OpDelete("tenant/info/"+key))
		} else {
			s.want[key] = n
			ops = append(ops, clientv3.OpPut("tenant/info/"+key, fmt.Sprintf(`{"Instances": %d}`, n)))
		}
	}
	s.Do(func() error {
		_, err := s.Client.Txn(ctx).Then(ops...).Commit()
		return err
	})
}

// awaitWishes waits until everything is as wanted, and prints what changes meanwhile.
func (s *show) awaitWishes(ctx context.Context) {
	s.Until(ctx, "what is wanted", func() bool {
		s.Do(func() error { return s.look(ctx) })
		return maps.Equal(s.has, s.want)
	})
}

// look prints what has changed in the actual state.
func (s *show) look(ctx context.Context) error {
	resp, err := s.Client.Get(ctx, "tenant/running/", clientv3.WithPrefix())
	if err != nil {
		return err
	}
	had := s.has
	s.has = make(map[string]int)
	for _, kv := range resp.Kvs {
		var p product
		if err := json.Unmarshal(kv.Value, &p); err != nil {
			return err
		}
		key := strings.TrimPrefix(string(kv.Key), "tenant/running/")
		if s.has[key] = p.Instances; had[key] != p.Instances {
			s.Say(lipgloss.Style{}, "%s has %d running, by order of term %s", short(key), p.Instances, p.Term)
		}
		delete(had, key)
	}
	for _, key := range slices.Sorted(maps.Keys(had)) {
		s.Say(lipgloss.Style{}, "%s is stopped", short(key))
	}
	return nil
}

// short writes TENANT/NAME for TENANT/rs/NAME.
func short(key string) string { return strings.Replace(key, "/rs/", "/", 1) }

// publish stores a policy. Nobody is told.
func (s *show) publish(ctx context.Context, tenant string, limit int) policy {
	p := policy{Tenant: tenant, Limit: limit}
	s.Do(func() error {
		resp, err := s.Client.Put(ctx, "policy/"+tenant, strconv.Itoa(limit))
		if err == nil {
			p.Version = resp.Header.Revision
		}
		return err
	})
	return p
}

// push tells every replica of a policy.
func (s *show) push(ctx context.Context, p policy) {
	for _, address := range s.address {
		s.Do(func() error {
			text, err := json.Marshal(p)
			if err != nil {
				return err
			}
			_, _, err = theatre.Request(ctx, http.MethodPost, "http://"+address, bytes.NewReader(text))
			return err
		})
	}
}

// know reports whether all replicas know a version, or a later one.
func (s *show) know(p policy) bool {
	for name := range s.address {
		if s.knows[about{name, p.Tenant}] < p.Version {
			return false
		}
	}
	return true
}

// term is the one in which a product was made so.
func term(value []byte) (lock.Token, error) {
	p, err := decode("", value)
	return p.Term, err
}
