package main

import (
	"bufio"
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/term"

	"github.com/conclave-go/conclave/lock"
)

// releaseOptions are the flags of release.
type releaseOptions struct {
	force      string
	yes        bool
	etcdLayout bool
}

func (a *app) releaseCommand() *cobra.Command {
	o := &releaseOptions{}
	cmd := &cobra.Command{
		ValidArgsFunction: a.completeNames(1),
		Use:               "release NAME [flags]",
		Short:             "Ask for a lock, or take it away",
		Long: `release asks the holders of a lock to let go, and does not wait for that. What a holder does about it is up to the holder: a program has
Hold.ReleaseRequested, conclave lock has --on-request.

--force deletes the entry with the given token, which "conclave inspect" shows, whether it is a holder's, a leader's or a waiter's. The next is then granted at once,
while the process that had the entry goes on until it notices, which takes up to a third of its TTL: for that time two do what only one should. Only a resource that
checks tokens is safe from that. If the process is dead, its lease expires by itself.`,
		Example: `  conclave release reports/nightly
  conclave inspect reports/nightly
  conclave release reports/nightly --force 1042`,
		Args: argument("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(cmd.Context(), func(ctx context.Context, client *clientv3.Client) error {
				if o.force != "" {
					return a.force(ctx, client, o, args[0])
				}
				if o.etcdLayout {
					return usagef("release: --etcd-layout: must come with --force: holders with this layout cannot be asked")
				}
				return a.ask(ctx, client, args[0])
			})
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&o.force, "force", "", "delete the entry with this `token`")
	fs.BoolVarP(&o.yes, "yes", "y", false, "with --force: do not ask for confirmation")
	fs.BoolVar(&o.etcdLayout, "etcd-layout", false, "with --force: the entry belongs to \"etcdctl lock\"")
	return cmd
}

// ask requests the release.
func (a *app) ask(ctx context.Context, client *clientv3.Client, name string) error {
	timed, cancel := context.WithTimeout(ctx, a.etcd.commandTimeout)
	defer cancel()
	entries, err := lock.Inspect(timed, client, name)
	if err != nil {
		return a.etcd.explain(ctx, err)
	}
	if len(entries) == 0 {
		_, err := fmt.Fprintf(a.out, "nobody holds lock %q\n", name)
		return err
	}
	if err := lock.RequestRelease(timed, client, name); err != nil {
		return a.etcd.explain(ctx, err)
	}
	for _, e := range entries {
		if e.Held() {
			if _, err := fmt.Fprintf(a.out, "asked %s for lock %q (token %s)\n", e.Owner, name, e.Token); err != nil {
				return err
			}
		}
	}
	return nil
}

// force deletes an entry, once it was said what that means.
func (a *app) force(ctx context.Context, client *clientv3.Client, o *releaseOptions, name string) error {
	token, err := lock.ParseToken(o.force)
	if err != nil {
		return usagef("release: --force %q: must be a token as \"conclave inspect %s\" shows it: %w", o.force, name, err)
	}
	found, err := a.find(ctx, client, o, name, token)
	if err != nil {
		return err
	}
	if err := a.confirm(ctx, o, name, found); err != nil {
		return err
	}
	// A member that is cut off refuses it, instead of keeping it until it is too late to say what has become of it.
	timed, cancel := context.WithTimeout(clientv3.WithRequireLeader(ctx), a.etcd.commandTimeout)
	defer cancel()
	resp, err := client.Txn(timed).If(clientv3.Compare(clientv3.CreateRevision(found.Key), "=", token.Revision())).
		Then(clientv3.OpDelete(found.Key)).Commit()
	if err != nil {
		return a.etcd.explain(ctx, err)
	}
	if !resp.Succeeded {
		return &exitError{code: exitNotObtained, err: fmt.Errorf("release: token %s of %q: is gone by now; nothing was deleted", token, name)}
	}
	_, err = fmt.Fprintf(a.out, "deleted %s of %s, which had token %s\n", found.Key, found.Owner, token)
	return err
}

// find looks an entry up by its token.
func (a *app) find(ctx context.Context, client *clientv3.Client, o *releaseOptions, name string, token lock.Token) (entry, error) {
	timed, cancel := context.WithTimeout(ctx, a.etcd.commandTimeout)
	defer cancel()
	entries, err := entriesOf(timed, client, name, o.etcdLayout)
	if err != nil {
		return entry{}, a.etcd.explain(ctx, err)
	}
	var tokens []string
	for _, e := range entries {
		if e.order.Revision() == token.Revision() {
			return e, nil
		}
		tokens = append(tokens, e.Token)
	}
	return entry{}, &exitError{code: exitNotObtained, err: fmt.Errorf("release: %q has no entry with token %s: there are [%s]", name, token, strings.Join(tokens, " "))}
}

// confirm says what is about to happen, and waits for the answer until ctx ends. Without a terminal to ask on it needs --yes.
func (a *app) confirm(ctx context.Context, o *releaseOptions, name string, e entry) error {
	if o.yes {
		return nil
	}
	meaning := fmt.Sprintf("%s %s %q (%s, token %s). The next is granted at once, while its process goes on for up to a third of its TTL: two may do what one should.",
		e.Owner, e.State, name, e.Kind, e.Token)
	if !term.IsTerminal(int(a.in.Fd())) {
		return usagef("release: --force %s: %s Say --yes if that is meant.", e.Token, meaning)
	}
	if _, err := fmt.Fprintf(a.err, "%s\nDelete its entry? Type the token: ", meaning); err != nil {
		return err
	}
	lines := make(chan string, 1)
	go func() { // ends with the line, or with the process
		line, err := bufio.NewReader(a.in).ReadString('\n')
		if err != nil { // it was not typed to its end
			line = ""
		}
		lines <- strings.TrimSpace(line)
	}()
	select {
	case line := <-lines:
		if line != e.Token {
			return &exitError{code: exitNotObtained, err: fmt.Errorf("release: %q is not token %s: nothing was deleted", line, e.Token)}
		}
		return nil
	case <-ctx.Done():
		_, _ = fmt.Fprintln(a.err)
		return context.Cause(ctx)
	}
}
