package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/election"
	"github.com/conclave-go/conclave/lock"
	"github.com/conclave-go/conclave/watch"
)

// inspectOptions are the flags of inspect.
type inspectOptions struct {
	watch      bool
	etcdLayout bool
	output     format
}

func (a *app) inspectCommand() *cobra.Command {
	o := &inspectOptions{}
	cmd := &cobra.Command{
		ValidArgsFunction: a.completeNames(64),
		Use:               "inspect NAME... [flags]",
		Short:             "Show who holds locks and leads elections, and who waits for whom",
		Long: `inspect shows the entries of all locks and elections of the names: holders first, then those who wait, in their order.
AGE is how long an entry has been in the queue, by its owner's clock, and TTL is how long its lease lasts unless it is renewed.`,
		Example: `  conclave inspect reports/nightly --watch
  conclave inspect reports/nightly -o json | jq -r '.entries[] | select(.state == "holds") | .owner'`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("inspect: no name: must be one or more")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(cmd.Context(), func(ctx context.Context, client *clientv3.Client) error {
				if o.watch {
					return a.inspectAgain(ctx, client, o, args)
				}
				return a.inspect(ctx, client, o, args)
			})
		},
	}
	fs := cmd.Flags()
	fs.BoolVarP(&o.watch, "watch", "w", false, "print again whenever something changes")
	fs.BoolVar(&o.etcdLayout, "etcd-layout", false, "inspect locks of \"etcdctl lock\"")
	o.output.register(fs, table, wide, asJSON)
	return cmd
}

// named is what there is of a name.
type named struct {
	Name    string  `json:"name"`
	Entries []entry `json:"entries"`
}

// entry is one acquisition or candidacy.
type entry struct {
	Kind     string     `json:"kind"`  // mutex, write, read, semaphore, election
	State    string     `json:"state"` // holds, waits
	Owner    string     `json:"owner"`
	Value    string     `json:"value,omitempty"` // of a candidate
	Token    string     `json:"token"`
	Key      string     `json:"key"`
	Lease    string     `json:"lease"`
	Since    *time.Time `json:"since,omitempty"`
	Age      float64    `json:"age_seconds,omitempty"`
	TTL      float64    `json:"ttl_seconds"`
	Position int        `json:"position"`
	Weight   int        `json:"weight,omitempty"`
	Permits  int        `json:"permits,omitempty"`
	// WaitsFor is the key that is in its way, WaitsForOwner its owner.
	WaitsFor      string `json:"waits_for,omitempty"`
	WaitsForOwner string `json:"waits_for_owner,omitempty"`

	order lock.Token
}

func (a *app) inspect(ctx context.Context, client *clientv3.Client, o *inspectOptions, names []string) error {
	timed, cancel := context.WithTimeout(ctx, a.etcd.commandTimeout)
	defer cancel()
	all := make([]named, len(names))
	for i, name := range names {
		entries, err := entriesOf(timed, client, name, o.etcdLayout)
		if err != nil {
			return a.etcd.explain(ctx, err)
		}
		all[i] = named{name, entries}
	}
	if o.output == asJSON {
		for _, n := range all {
			if err := a.object(n); err != nil {
				return err
			}
		}
		return nil
	}
	return a.print(entryGrid(all, o.output))
}

// entriesOf reads all entries of a name.
func entriesOf(ctx context.Context, client *clientv3.Client, name string, layout bool) ([]entry, error) { //nolint:revive // a choice of the user
	var opts []lock.InspectOption
	if layout {
		opts = append(opts, lock.WithEtcdLayout())
	}
	locks, err := lock.Inspect(ctx, client, name, opts...)
	if err != nil {
		return nil, err
	}
	entries := make([]entry, 0, len(locks))
	for _, l := range locks {
		entries = append(entries, entryOf(l))
	}
	if !layout {
		candidates, err := election.Candidates(ctx, client, name)
		if err != nil {
			return nil, err
		}
		for _, c := range candidates {
			e, err := candidateEntry(ctx, client, c)
			if err != nil {
				return nil, err
			}
			entries = append(entries, e)
		}
	}
	waits(entries)
	return entries, nil
}

func entryOf(l lock.Entry) entry {
	e := entry{
		Kind: string(l.Mode), State: stateOf(l.Held()), Owner: l.Owner, Token: l.Token.String(), Key: l.Key,
		Lease: strconv.FormatInt(int64(l.Lease), 16), TTL: l.TTL.Seconds(), Position: l.Position,
		Weight: l.Weight, Permits: l.Permits, order: l.Token,
	}
	e.since(l.Since)
	return e
}

func stateOf(holds bool) string { //nolint:revive // the word for it
	if holds {
		return "holds"
	}
	return "waits"
}

func (e *entry) since(t time.Time) {
	if !t.IsZero() {
		e.Since, e.Age = &t, time.Since(t).Seconds()
	}
}

func candidateEntry(ctx context.Context, client *clientv3.Client, c election.Candidate) (entry, error) {
	left, err := request(ctx, func(ctx context.Context) (*clientv3.LeaseTimeToLiveResponse, error) {
		return client.TimeToLive(ctx, c.Lease)
	})
	if err != nil {
		return entry{}, err
	}
	e := entry{
		Kind: "election", State: stateOf(c.Leads()), Owner: c.Owner, Value: c.Value, Token: c.Token.String(), Key: c.Key,
		Lease: strconv.FormatInt(int64(c.Lease), 16), TTL: float64(max(0, left.TTL)), Position: c.Position, order: c.Token,
	}
	e.since(c.Since)
	return e, nil
}

// waits finds who is in whose way: for a reader the nearest writer before it, for all others the nearest
// entry before it in the same queue.
func waits(entries []entry) {
	for i := range entries {
		e := &entries[i]
		if e.State == "holds" {
			continue
		}
		var before *entry
		for j := range entries {
			other := &entries[j]
			if inTheWay(other, e) && (before == nil || other.order > before.order) {
				before = other
			}
		}
		if before != nil {
			e.WaitsFor, e.WaitsForOwner = before.Key, before.Owner
		}
	}
}

// inTheWay reports whether an entry waits for another.
func inTheWay(other, e *entry) bool {
	if other.order >= e.order {
		return false
	}
	readWrite := func(kind string) bool { return kind == string(lock.ModeRead) || kind == string(lock.ModeWrite) }
	switch {
	case e.Kind == string(lock.ModeRead):
		return other.Kind == string(lock.ModeWrite)
	case e.Kind == string(lock.ModeWrite):
		return readWrite(other.Kind)
	default:
		return other.Kind == e.Kind
	}
}

// entryGrid is the table of inspect.
func entryGrid(all []named, f format) *grid {
	g := &grid{head: []string{"NAME", "KIND", "STATE", "OWNER", "TOKEN", "AGE", "TTL", "WAITS FOR"}}
	if f == wide {
		g.head = append(g.head, "VALUE", "LEASE", "KEY")
	}
	for _, n := range all {
		if len(n.Entries) == 0 {
			g.add("", n.Name, "-", "free")
		}
		for _, e := range n.Entries {
			g.add(entryMark(e), e.cells(n.Name, f)...)
		}
	}
	return g
}

func entryMark(e entry) string {
	switch {
	case e.TTL == 0:
		return red
	case e.State == "holds":
		return green
	default:
		return ""
	}
}

func (e *entry) cells(name string, f format) []string {
	kind, age, waitsFor := e.Kind, "-", "-"
	if e.Permits > 0 {
		kind = fmt.Sprintf("%s %d/%d", kind, e.Weight, e.Permits)
	}
	if e.Since != nil {
		age = brief(time.Since(*e.Since))
	}
	if e.WaitsFor != "" {
		waitsFor = cmp.Or(e.WaitsForOwner, e.WaitsFor)
	}
	row := []string{name, kind, e.State, cmp.Or(e.Owner, "-"), e.Token, age, brief(time.Duration(e.TTL * float64(time.Second))), waitsFor}
	if f == wide {
		row = append(row, cmp.Or(printable([]byte(e.Value)), "-"), e.Lease, e.Key)
	}
	return row
}

// inspectAgain shows names whenever something happens to them, and on a terminal every second, since ages and TTLs change.
func (a *app) inspectAgain(ctx context.Context, client *clientv3.Client, o *inspectOptions, names []string) error {
	changed := make(chan error, 1)
	for _, name := range names {
		prefix := name + "/~"
		if o.etcdLayout {
			prefix = name + "/"
		}
		go a.follow(ctx, client, prefix, changed) // ends with ctx, which the program ends
	}
	live := isTerminal(a.out) && o.output != asJSON
	var second, again <-chan time.Time
	if live {
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		second = ticker.C
	}
	for {
		select {
		case err := <-changed:
			if err != nil {
				return err
			}
		case <-second:
		case <-again:
		case <-ctx.Done():
			return interrupted(ctx, nil)
		}
		shown, err := a.refresh(ctx, client, o, names, live)
		if err != nil {
			return err
		}
		if again = nil; !shown { // the change that was not shown is not told again
			again = time.After(time.Second)
		}
	}
}

// refresh shows names once, or reports that etcd did not answer; it may do so the next time.
func (a *app) refresh(ctx context.Context, client *clientv3.Client, o *inspectOptions, names []string, live bool) (shown bool, err error) { //nolint:revive // the kind of screen
	var text bytes.Buffer
	page := *a
	page.out, page.screen = &text, a.out
	if err := page.inspect(ctx, client, o, names); unreachable(err) && ctx.Err() == nil {
		a.note("%v", err)
		return false, nil
	} else if err != nil {
		return false, interrupted(ctx, err)
	}
	if live {
		if _, err := fmt.Fprint(a.out, blank); err != nil {
			return false, err
		}
	}
	_, err = a.out.Write(text.Bytes())
	return true, err
}

// follow tells of changes below a prefix, at first that it has begun; several that nobody has looked at are one.
func (a *app) follow(ctx context.Context, client *clientv3.Client, prefix string, changed chan<- error) {
	first := true
	for batch, err := range watch.Stream(ctx, client, prefix, watch.WithPrefix(), watch.WithLogger(a.logger())) {
		if err != nil {
			select {
			case changed <- err:
			case <-ctx.Done():
			}
			return
		}
		if !first && len(batch.Events) == 0 {
			continue
		}
		first = false
		select {
		case changed <- nil:
		default:
		}
	}
}

// used is a name in use.
type used struct {
	Name    string `json:"name"`
	Kind    string `json:"kind"`
	Entries int    `json:"entries"`
}

func (a *app) lsCommand() *cobra.Command {
	var output format
	cmd := &cobra.Command{
		ValidArgsFunction: a.completeNames(1),
		Use:               "ls [PREFIX] [flags]",
		Short:             "List the names of locks and elections in use",
		Long:              `ls lists the names that begin with PREFIX and have an entry now: somebody holds or leads, or waits to. It reads all keys below PREFIX, without values.`,
		Example: `  conclave ls
  conclave ls reports/ -o json`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef("ls: %d arguments: must be one PREFIX, or none", len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			prefix := strings.Join(args, "")
			return a.withClient(cmd.Context(), func(ctx context.Context, client *clientv3.Client) error {
				names, err := a.namesBelow(ctx, client, prefix)
				if err != nil {
					return a.etcd.explain(ctx, err)
				}
				return a.list(names, output)
			})
		},
	}
	output.register(cmd.Flags(), table, asJSON)
	return cmd
}

// namesBelow reads the keys below a prefix, a thousand at a time, and counts entries.
func (a *app) namesBelow(ctx context.Context, client *clientv3.Client, prefix string) ([]used, error) {
	counts := make(map[used]int)
	end := clientv3.GetPrefixRangeEnd(prefix)
	for from := cmp.Or(prefix, "\x00"); ; {
		page, cancel := context.WithTimeout(ctx, a.etcd.commandTimeout)
		resp, err := request(page, func(ctx context.Context) (*clientv3.GetResponse, error) {
			return client.Get(ctx, from, clientv3.WithRange(end), clientv3.WithKeysOnly(), clientv3.WithLimit(1000))
		})
		cancel()
		if err != nil {
			return nil, err
		}
		for _, kv := range resp.Kvs {
			if name, kind, ok := parseKey(string(kv.Key)); ok {
				counts[used{Name: name, Kind: kind}]++
			}
		}
		if !resp.More {
			break
		}
		from = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
	}
	names := make([]used, 0, len(counts))
	for u, n := range counts {
		u.Entries = n
		names = append(names, u)
	}
	slices.SortFunc(names, func(x, y used) int { return cmp.Or(cmp.Compare(x.Name, y.Name), cmp.Compare(x.Kind, y.Kind)) })
	return names, nil
}

// parseKey finds the name and kind of an entry in its key: NAME/~KIND/ENTRY. No name has
// a segment that begins so.
func parseKey(key string) (name, kind string, ok bool) {
	name, rest, ok := strings.Cut(key, "/~")
	kind, _, entry := strings.Cut(rest, "/")
	return name, kind, ok && entry && slices.Contains([]string{"mutex", "rwmutex", "semaphore", "election"}, kind)
}

func (a *app) list(names []used, f format) error {
	g := &grid{head: []string{"NAME", "KIND", "ENTRIES"}}
	for _, n := range names {
		if f == asJSON {
			if err := a.object(n); err != nil {
				return err
			}
		}
		g.add("", n.Name, n.Kind, strconv.Itoa(n.Entries))
	}
	if f == asJSON || len(names) == 0 {
		return nil
	}
	return a.print(g)
}
