package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// doctorOptions are the flags of doctor.
type doctorOptions struct {
	output format
}

func (a *app) doctorCommand() *cobra.Command {
	o := &doctorOptions{}
	cmd := &cobra.Command{
		Use:   "doctor [PREFIX] [flags]",
		Short: "Check whether etcd is fit for locks, and what this user may do",
		Long: `doctor asks every member for its state, measures reads, writes and watches, compares clocks, and looks up which permissions the user has, for
names that begin with PREFIX if one is given. It says what it finds, and what to do about it.

It writes a key below PREFIX (conclave-doctor/ by default), ten times, and deletes it. It takes about two seconds.

The exit code is 0 if nothing needs to be done, 1 if something is wrong, and 69 if no member answers.`,
		Example: `  conclave doctor
  conclave doctor reports/ --user ann`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef("doctor: %d arguments: must be one PREFIX, or none", len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(cmd.Context(), func(ctx context.Context, client *clientv3.Client) error {
				return a.doctor(ctx, client, o, strings.Join(args, ""))
			})
		},
	}
	o.output.register(cmd.Flags(), table, asJSON)
	return cmd
}

// level says how bad a finding is.
type level string

const (
	good    level = "ok"
	note    level = "note"    // to know
	warning level = "warning" // to do, some day
	problem level = "problem" // to do now
)

// finding is something that doctor has seen.
type finding struct {
	Level   level  `json:"level"`
	Subject string `json:"subject"`
	Says    string `json:"says"`
	Do      string `json:"do,omitempty"`
}

// diagnosis is all that doctor has seen.
type diagnosis struct {
	Members  []*member `json:"members"`
	Latency  []latency `json:"latency,omitempty"`
	User     *user     `json:"user,omitempty"`
	Findings []finding `json:"findings"`

	prefix string
	tls    *tls.Config
}

func (d *diagnosis) find(l level, subject, do, format string, args ...any) {
	d.Findings = append(d.Findings, finding{Level: l, Subject: subject, Do: do, Says: fmt.Sprintf(format, args...)})
}

func (a *app) doctor(ctx context.Context, client *clientv3.Client, o *doctorOptions, prefix string) error {
	d := &diagnosis{prefix: prefix, Findings: []finding{}, tls: a.tls}
	answer := d.members(ctx, client, a.etcd.resolved, a.etcd.commandTimeout)
	if answer {
		d.clocks(ctx)
		d.latencies(ctx, client, a.etcd.commandTimeout)
		d.user(ctx, client, client.Username, a.etcd.commandTimeout)
	}
	if ctx.Err() != nil {
		return interrupted(ctx, ctx.Err())
	}
	if err := a.diagnose(o, d); err != nil {
		return err
	}
	return d.verdict(answer)
}

// verdict is the exit code.
func (d *diagnosis) verdict(answer bool) error { //nolint:revive // whether any member has answered
	if !answer {
		return &exitError{code: exitUnavailable}
	}
	for _, f := range d.Findings {
		if f.Level == problem {
			return &exitError{code: exitUnwell}
		}
	}
	return nil
}

// diagnose prints it.
func (a *app) diagnose(o *doctorOptions, d *diagnosis) error {
	if o.output == asJSON {
		return a.object(d)
	}
	g := &grid{head: []string{"MEMBER", "ENDPOINT", "VERSION", "ROLE", "DB SIZE", "ANSWERS IN", "CLOCK"}}
	for _, m := range d.Members {
		g.add(pick(m.Error != "", red, ""), m.cells()...)
	}
	if err := a.print(g); err != nil {
		return err
	}
	if len(d.Latency) > 0 {
		g = &grid{gap: true, head: []string{"LATENCY", "MEDIAN", "SLOWEST"}}
		for _, l := range d.Latency {
			g.add("", l.What, brief(l.median), brief(l.slowest))
		}
		if err := a.print(g); err != nil {
			return err
		}
	}
	return a.findings(d)
}

func (a *app) findings(d *diagnosis) error {
	colour := map[level]string{good: green, warning: yellow, problem: red}
	g := &grid{gap: true, head: []string{"FINDING", "ABOUT", "WHAT"}}
	for _, f := range d.Findings {
		g.add(colour[f.Level], string(f.Level), f.Subject, f.Says)
		if f.Do != "" {
			g.add("", "", "", "→ "+f.Do)
		}
	}
	return a.print(g)
}

// within calls fn with a context that ends after a while.
func within(ctx context.Context, d time.Duration, fn func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return fn(ctx)
}
