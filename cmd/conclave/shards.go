package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/shard"
)

// action is something an operator wants of a group.
type action struct {
	takes string // its arguments
	means string
	do    func(ctx context.Context, client *clientv3.Client, group string, args []string) error
}

// actions returns what can be done, by name.
func actions() map[string]action {
	ofMember := func(do func(context.Context, *clientv3.Client, string, string) error) func(context.Context, *clientv3.Client, string, []string) error {
		return func(ctx context.Context, client *clientv3.Client, group string, args []string) error {
			return do(ctx, client, group, args[0])
		}
	}
	ofGroup := func(do func(context.Context, *clientv3.Client, string) error) func(context.Context, *clientv3.Client, string, []string) error {
		return func(ctx context.Context, client *clientv3.Client, group string, _ []string) error {
			return do(ctx, client, group)
		}
	}
	return map[string]action{
		"cordon":   {"MEMBER", "give it no more shards", ofMember(shard.Cordon)},
		"drain":    {"MEMBER", "cordon it, and give its shards to others", ofMember(shard.Evacuate)},
		"uncordon": {"MEMBER", "undo cordon and drain", ofMember(shard.Uncordon)},
		"freeze":   {"", "leave all shards where they are", ofGroup(shard.Freeze)},
		"thaw":     {"", "undo freeze", ofGroup(shard.Thaw)},
		"move":     {"SHARD MEMBER", "pin a shard to a member", move},
		"unpin": {"SHARD", "undo move", func(ctx context.Context, client *clientv3.Client, group string, args []string) error {
			return move(ctx, client, group, append(args, ""))
		}},
	}
}

func move(ctx context.Context, client *clientv3.Client, group string, args []string) error {
	id, err := strconv.ParseUint(args[0], 10, 32)
	if err != nil {
		return usagef("shards: SHARD %q: must be a number", args[0])
	}
	return shard.Move(ctx, client, group, shard.ID(id), args[1])
}

func (a *app) shardsCommand() *cobra.Command {
	var output format
	names := []string{"cordon", "drain", "uncordon", "move", "unpin", "freeze", "thaw"}
	var text strings.Builder
	text.WriteString("shards shows who owns the shards of a group, and who should own them according to the plan; -o wide shows every shard.\nWith an action, it asks the group's planner for something:\n\n")
	for _, name := range names {
		fmt.Fprintf(&text, "  %-20s  %s\n", name+" "+actions()[name].takes, actions()[name].means)
	}
	cmd := &cobra.Command{
		Use:   "shards GROUP [ACTION [ARG...]] [flags]",
		Short: "Show the owners of shards, and move them",
		Long:  text.String() + "\nIt returns once this is written; run shards again to see the result.",
		Example: `  conclave shards mailer
  conclave shards mailer drain pod-7
  conclave shards mailer -o json | jq '.shards[] | select(.owner == null)'`,
		Args: shardArguments,
		ValidArgsFunction: func(_ *cobra.Command, args []string, begins string) ([]string, cobra.ShellCompDirective) {
			var fit []string
			for _, name := range names {
				if len(args) == 1 && strings.HasPrefix(name, begins) {
					fit = append(fit, name)
				}
			}
			return fit, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(cmd.Context(), func(ctx context.Context, client *clientv3.Client) error {
				if len(args) == 1 {
					return a.shards(ctx, client, args[0], output)
				}
				timed, cancel := context.WithTimeout(ctx, a.etcd.commandTimeout)
				defer cancel()
				if err := actions()[args[1]].do(timed, client, args[0], args[2:]); err != nil {
					return a.etcd.explain(ctx, err)
				}
				return nil
			})
		},
	}
	output.register(cmd.Flags(), table, wide, asJSON)
	return cmd
}

func shardArguments(_ *cobra.Command, args []string) error {
	if len(args) == 0 {
		return usagef("shards: no GROUP: must be GROUP, or GROUP and an action")
	}
	if len(args) == 1 {
		return nil
	}
	known := actions()
	do, ok := known[args[1]]
	if !ok {
		var names []string
		for name := range known {
			names = append(names, name)
		}
		slices.Sort(names)
		return usagef("shards: action %q: must be one of %s", args[1], strings.Join(names, ", "))
	}
	if wants := len(strings.Fields(do.takes)); len(args)-2 != wants {
		return usagef("shards: %s: %d arguments: must be %s", args[1], len(args)-2, cmp.Or(do.takes, "none"))
	}
	return nil
}

// groupJSON is a group with -o json.
type groupJSON struct {
	Group    string            `json:"group"`
	Revision int64             `json:"revision"`
	Planner  string            `json:"planner,omitempty"`
	Plan     int64             `json:"plan,omitempty"` // its number
	Made     *time.Time        `json:"made,omitempty"`
	Error    string            `json:"plan_error,omitempty"`
	Frozen   bool              `json:"frozen"`
	Moving   int               `json:"moving"`
	Unowned  int               `json:"unowned"`
	Members  []shardMemberJSON `json:"members"`
	Shards   []shardJSON       `json:"shards"`
}

type shardMemberJSON struct {
	Name    string     `json:"name"`
	State   string     `json:"state"`
	Zone    string     `json:"zone,omitempty"`
	Weight  int        `json:"weight"`
	Value   string     `json:"value,omitempty"`
	Owned   int        `json:"owned"`
	Planned int        `json:"planned"`
	Stuck   []shard.ID `json:"stuck,omitempty"`
}

type shardJSON struct {
	Shard   shard.ID `json:"shard"`
	Owner   *string  `json:"owner"` // null for nobody
	Token   string   `json:"token,omitempty"`
	Planned string   `json:"planned,omitempty"`
	Pinned  string   `json:"pinned,omitempty"`
	Moving  bool     `json:"moving,omitempty"`
	Waiting []string `json:"waiting,omitempty"`
}

func groupOf(s *shard.Status) *groupJSON {
	g := &groupJSON{Group: s.Group, Revision: s.Revision, Planner: s.Planner, Plan: s.Version, Frozen: s.Frozen, Members: []shardMemberJSON{}, Shards: []shardJSON{}}
	if !s.Made.IsZero() {
		g.Made = &s.Made
	}
	if s.PlanError != nil {
		g.Error = s.PlanError.Error()
	}
	for _, m := range s.Members {
		g.Members = append(g.Members, shardMemberJSON{m.Name, m.State.String(), m.Zone, m.Weight, m.Value, m.Owned, m.Planned, m.Stuck})
	}
	for _, o := range s.Shards {
		one := shardJSON{Shard: o.Shard, Planned: o.Planned, Pinned: o.Pinned, Moving: o.Moving(), Waiting: o.Waiting}
		if o.Owner == "" {
			g.Unowned++
		} else {
			one.Owner, one.Token = &o.Owner, o.Token.String()
		}
		if one.Moving {
			g.Moving++
		}
		g.Shards = append(g.Shards, one)
	}
	return g
}

func (a *app) shards(ctx context.Context, client *clientv3.Client, group string, f format) error {
	timed, cancel := context.WithTimeout(ctx, a.etcd.commandTimeout)
	defer cancel()
	status, err := shard.Inspect(timed, client, group)
	if err != nil {
		return a.etcd.explain(ctx, err)
	}
	g := groupOf(&status)
	if f == asJSON {
		return a.object(g)
	}
	if _, err := fmt.Fprintln(a.out, g.line()); err != nil {
		return err
	}
	members := &grid{gap: true, head: []string{"MEMBER", "STATE", "ZONE", "WEIGHT", "OWNS", "BY PLAN", "VALUE"}}
	for _, m := range g.Members {
		members.add(pick(m.state() == shard.Active.String(), "", yellow), m.Name, m.state(), cmp.Or(m.Zone, "-"), strconv.Itoa(m.Weight),
			strconv.Itoa(m.Owned), strconv.Itoa(m.Planned), cmp.Or(printable([]byte(m.Value)), "-"))
	}
	if err := a.print(members); err != nil || f != wide {
		return err
	}
	shards := &grid{gap: true, head: []string{"SHARD", "OWNER", "TOKEN", "BY PLAN", "PINNED TO", "WAITING"}}
	for _, s := range g.Shards {
		shards.add(s.mark(), strconv.Itoa(int(s.Shard)), s.owner(), cmp.Or(s.Token, "-"), cmp.Or(s.Planned, "-"),
			cmp.Or(s.Pinned, "-"), cmp.Or(strings.Join(s.Waiting, " "), "-"))
	}
	return a.print(shards)
}

// state is the member's, and how many shards are stuck in it.
func (m *shardMemberJSON) state() string {
	if len(m.Stuck) == 0 {
		return m.State
	}
	return fmt.Sprintf("%s, %d stuck", m.State, len(m.Stuck))
}

func (s shardJSON) owner() string {
	if s.Owner == nil {
		return "-"
	}
	return *s.Owner
}

func (s shardJSON) mark() string {
	switch {
	case s.Owner == nil:
		return red
	case s.Moving:
		return yellow
	default:
		return ""
	}
}

// line is the group in one.
func (g *groupJSON) line() string {
	text := fmt.Sprintf("%s: %d shards, %d moving, %d without an owner; plan %d", g.Group, len(g.Shards), g.Moving, g.Unowned, g.Plan)
	if g.Planner != "" {
		text += " by " + g.Planner
	} else {
		text += ", and nobody plans now"
	}
	if g.Frozen {
		text += "; frozen"
	}
	if g.Error != "" {
		text += "; the plan cannot be read: " + g.Error
	}
	return text
}
