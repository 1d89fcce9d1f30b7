package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/lock"
)

// errInvalid is returned when an update is refused. Nothing was written.
var errInvalid = errors.New("invalid update")

// settings are the values of a part, by name.
type settings map[string]int

// part is the value of one key.
type part struct {
	Version  int        // of the whole configuration, written with this value
	Token    lock.Token // of the writer
	Settings settings
}

// config is all parts, by name.
type config map[string]part

// change is what is to be set, by part.
type change map[string]settings

// take applies events, and returns the version of all parts, 0 if there are none; it fails if
// versions differ.
func (c config) take(events ...*clientv3.Event) (version int, err error) {
	for _, e := range events {
		name := strings.TrimPrefix(string(e.Kv.Key), configKey)
		if e.Type == clientv3.EventTypeDelete {
			delete(c, name)
			continue
		}
		var p part
		if err := json.Unmarshal(e.Kv.Value, &p); err != nil {
			return 0, fmt.Errorf("%s: %w", name, err)
		}
		c[name] = p
	}
	versions := make(map[int]string)
	for name := range c {
		version = c[name].Version
		versions[version] = name
	}
	if len(versions) > 1 {
		return 0, fmt.Errorf("a mixture of versions: %v", versions)
	}
	return version, nil
}

// load reads all parts, and returns their version.
func (c config) load(ctx context.Context, client *clientv3.Client) (version int, err error) {
	resp, err := client.Get(ctx, configKey, clientv3.WithPrefix())
	if err != nil {
		return 0, err
	}
	var events []*clientv3.Event
	for _, kv := range resp.Kvs {
		events = append(events, &clientv3.Event{Kv: kv})
	}
	return c.take(events...)
}

// merged returns the next version: c with a change.
func (c config) merged(by change, version int, token lock.Token) config {
	next := make(config)
	for name := range c {
		next[name] = part{version, token, maps.Clone(c[name].Settings)}
	}
	for name, values := range by {
		if next[name].Settings == nil {
			next[name] = part{version, token, make(settings)}
		}
		maps.Copy(next[name].Settings, values)
	}
	return next
}

// validate returns what is wrong with a configuration. Some rules are about one part, others
// about parts that must fit together.
func (c config) validate() error {
	limits, routes, features := c["limits"].Settings, c["routes"].Settings, c["features"].Settings
	sum := 0
	for _, percent := range routes {
		sum += percent
	}
	switch {
	case sum != 100:
		return fmt.Errorf("the routes add up to %d %%", sum)
	case limits["burst"] < limits["rps"]:
		return fmt.Errorf("limits: burst %d is below rps %d", limits["burst"], limits["rps"])
	case routes["green"] > 0 && features["green"] == 0:
		return fmt.Errorf("%d %% are routed to green, which is not among the features", routes["green"])
	}
	return nil
}

// puts writes all parts, if they fit together.
func (c config) puts() (ops []clientv3.Op, err error) {
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", errInvalid, err)
	}
	for name := range c {
		value, err := json.Marshal(c[name])
		if err != nil {
			return nil, err
		}
		ops = append(ops, clientv3.OpPut(configKey+name, string(value)))
	}
	return ops, nil
}
