package capacity

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// part is a part of a run.
type part struct {
	name string
	rows func(ctx context.Context, cfg Config) ([]Row, error)
}

// loads are all loads in their order.
func loads(cfg Config) []load {
	return []load{
		sessions(cfg.Sessions),
		processes(cfg.Clients),
		holds(cfg.Holds),
		waiters(cfg.Waiters),
		strangers(cfg.HandedOver),
		keys(cfg.Keys),
		observers(cfg.Observers),
		watchers(cfg.Watchers),
	}
}

// parts are all parts in their order.
func parts(cfg Config) []part {
	var all []part
	for _, l := range loads(cfg) {
		all = append(all, part{l.name, l.rows})
	}
	return append(all,
		part{"operations", operationRows},
		part{"knee of " + Locking, lockStair},
		part{"knee of " + Renewing, renewStair})
}

// Parts returns the names of what Run measures.
func Parts(cfg Config) []string {
	var all []string
	for _, p := range parts(cfg) {
		all = append(all, p.name)
	}
	return all
}

// Run measures the parts that are wanted, one after another, and returns all rows. If
// parts fail the others are measured all the same, unless ctx has ended. The program must
// let its copies be etcd members, see process.Main.
func Run(ctx context.Context, cfg Config, wanted func(part string) bool) ([]Row, error) {
	var rows []Row
	var errs []error
	begun := time.Now()
	for _, p := range parts(cfg) {
		if !wanted(p.name) || ctx.Err() != nil {
			continue
		}
		cfg.tell("%s (%s so far)", p.name, time.Since(begun).Round(time.Second))
		some, err := p.rows(ctx, cfg)
		if err != nil {
			cfg.tell("  failed: %v", err)
			errs = append(errs, fmt.Errorf("%s: %w", p.name, err))
		}
		rows = append(rows, some...) // what is there is complete if only the end has failed
	}
	cfg.tell("done in %s", time.Since(begun).Round(time.Second))
	return rows, errors.Join(append(errs, context.Cause(ctx))...)
}

// tell says what goes on. Nobody listening is no error.
func (c Config) tell(format string, args ...any) {
	_, _ = fmt.Fprintf(c.Progress, format+"\n", args...)
}
