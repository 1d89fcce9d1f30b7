package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/watch"
)

// watchOptions are the flags of watch.
type watchOptions struct {
	prefix, snapshot bool
	revision         int64
	exec             string
	output           format
}

func (a *app) watchCommand() *cobra.Command {
	o := &watchOptions{}
	cmd := &cobra.Command{
		Use:   "watch KEY [flags]",
		Short: "Print every change of a key or prefix, without gaps",
		Long: `watch prints a line for each batch of changes: its revision, and PUT KEY=VALUE or DELETE KEY for each. With -o json each batch is an object.
Lost connections, restarts of members and elections leave no gap. If history has been compacted away the stream ends, unless --snapshot is given: then
the current state comes first, and after such a gap the difference.

--exec runs a line with sh for each batch with events, one at a time, with the object on its standard input and CONCLAVE_REVISION in its environment.
If the line fails, watch ends with its exit code; use --rev to continue after the last revision that was handled.`,
		Example: `  conclave watch config/ --prefix --snapshot -o json | ./apply
  conclave watch config/ --prefix --rev 1043`,
		Args: argument("KEY"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(cmd.Context(), func(ctx context.Context, client *clientv3.Client) error {
				return a.watch(ctx, client, o, args[0])
			})
		},
	}
	fs := cmd.Flags()
	fs.BoolVar(&o.prefix, "prefix", false, "all keys that begin with KEY")
	fs.BoolVar(&o.snapshot, "snapshot", false, "begin with the current state, and survive compaction")
	fs.Int64Var(&o.revision, "rev", 0, "begin with the changes of this revision (default: from now on)")
	fs.StringVar(&o.exec, "exec", "", "`line` that sh runs for each batch")
	o.output.register(fs, table, asJSON)
	return cmd
}

func (a *app) watch(ctx context.Context, client *clientv3.Client, o *watchOptions, key string) error {
	if o.revision < 0 {
		return usagef("watch: --rev %d: must be positive", o.revision)
	}
	opts := []watch.Option{watch.WithLogger(a.logger())}
	if o.prefix {
		opts = append(opts, watch.WithPrefix())
	}
	if o.snapshot {
		opts = append(opts, watch.WithSnapshot())
	}
	if o.revision > 0 {
		opts = append(opts, watch.WithRevision(o.revision))
	}
	for batch, err := range watch.Stream(ctx, client, key, opts...) {
		if err != nil {
			return interrupted(ctx, err)
		}
		if err := a.batch(ctx, o, batch); err != nil {
			return err
		}
	}
	return nil
}

// batchJSON is a batch with -o json.
type batchJSON struct {
	Revision int64       `json:"revision"`
	Snapshot bool        `json:"snapshot,omitempty"`
	Resync   bool        `json:"resync,omitempty"`
	Events   []eventJSON `json:"events"`
}

// eventJSON is an event. A value that is not text is in Base64.
type eventJSON struct {
	Type           string  `json:"type"` // put, delete
	Key            string  `json:"key"`
	Value          *string `json:"value,omitempty"`
	ValueBase64    string  `json:"value_base64,omitempty"`
	CreateRevision int64   `json:"create_revision,omitempty"`
	ModRevision    int64   `json:"mod_revision"`
	Version        int64   `json:"version,omitempty"`
	Lease          string  `json:"lease,omitempty"`
}

func batchOf(b watch.Batch) batchJSON {
	out := batchJSON{Revision: b.Revision, Snapshot: b.Snapshot, Resync: b.Resync, Events: make([]eventJSON, len(b.Events))}
	for i, e := range b.Events {
		out.Events[i] = eventOf(e)
	}
	return out
}

func eventOf(e *clientv3.Event) eventJSON {
	out := eventJSON{Type: strings.ToLower(e.Type.String()), Key: string(e.Kv.Key), ModRevision: e.Kv.ModRevision}
	if e.Type == clientv3.EventTypeDelete {
		return out
	}
	out.CreateRevision, out.Version = e.Kv.CreateRevision, e.Kv.Version
	if e.Kv.Lease != 0 {
		out.Lease = strconv.FormatInt(e.Kv.Lease, 16)
	}
	if text := string(e.Kv.Value); utf8.ValidString(text) {
		out.Value = &text
	} else {
		out.ValueBase64 = base64.StdEncoding.EncodeToString(e.Kv.Value)
	}
	return out
}

// batch prints a batch, and runs the line.
func (a *app) batch(ctx context.Context, o *watchOptions, b watch.Batch) error {
	var err error
	switch {
	case o.output == asJSON:
		err = a.object(batchOf(b))
	case len(b.Events) > 0:
		_, err = fmt.Fprintln(a.out, batchLine(b))
	}
	if err != nil || o.exec == "" || len(b.Events) == 0 {
		return err
	}
	var object strings.Builder
	if err := writeJSON(&object, batchOf(b)); err != nil {
		return err
	}
	return a.exec(ctx, o.exec, object.String(), "CONCLAVE_REVISION="+strconv.FormatInt(b.Revision, 10))
}

// batchLine is a batch for people.
func batchLine(b watch.Batch) string {
	words := []string{strconv.FormatInt(b.Revision, 10)}
	switch {
	case b.Snapshot:
		words = append(words, "SNAPSHOT")
	case b.Resync:
		words = append(words, "RESYNC")
	}
	for _, e := range b.Events {
		word := e.Type.String() + " " + printable(e.Kv.Key)
		if e.Type == clientv3.EventTypePut {
			word += "=" + printable(e.Kv.Value)
		}
		words = append(words, word)
	}
	return strings.Join(words, "  ")
}
