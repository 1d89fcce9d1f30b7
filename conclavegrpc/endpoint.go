package conclavegrpc

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/attributes"
	"google.golang.org/grpc/resolver"
)

// Endpoint is where a server can be reached.
type Endpoint struct {
	// Addr is the address that clients dial, such as "10.0.0.7:8080".
	Addr string
	// Metadata is anything that JSON can express, for balancers.
	Metadata any
}

// record is the value of a key as naming/endpoints writes it. Op is always 0, "add".
type record struct {
	Op       uint8
	Addr     string
	Metadata any
}

// encode returns the value of the endpoint's key.
func (e Endpoint) encode() (string, error) {
	if e.Addr == "" {
		return "", errors.New("conclavegrpc: address is empty: must be what clients dial")
	}
	text, err := json.Marshal(record{Addr: e.Addr, Metadata: e.Metadata})
	if err != nil {
		return "", fmt.Errorf("conclavegrpc: metadata of %s: %w", e.Addr, err)
	}
	return string(text), nil
}

// decode reads the value of a key.
func decode(_ string, value []byte) (Endpoint, error) {
	var r record
	if err := json.Unmarshal(value, &r); err != nil {
		return Endpoint{}, err
	}
	if r.Addr == "" {
		return Endpoint{}, errors.New("it has no address")
	}
	return Endpoint{Addr: r.Addr, Metadata: r.Metadata}, nil
}

// prefix returns what the keys of a service begin with.
func prefix(service string) (string, error) {
	if service == "" || strings.HasSuffix(service, "/") {
		return "", fmt.Errorf("conclavegrpc: service %q: must not be empty or end in a slash", service)
	}
	return service + "/", nil
}

// metadataKey is the key of the attribute.
type metadataKey struct{}

// metadata is the attribute. gRPC compares attributes, and what JSON makes cannot be
// compared with ==, so its text is.
type metadata struct {
	value any
	text  string
}

// Equal implements what gRPC compares attributes with.
func (m metadata) Equal(other any) bool {
	o, ok := other.(metadata)
	return ok && o.text == m.text
}

// resolved returns the endpoint as gRPC takes it.
func (e Endpoint) resolved() resolver.Endpoint {
	out := resolver.Endpoint{Addresses: []resolver.Address{{Addr: e.Addr}}}
	if e.Metadata != nil {
		text, _ := json.Marshal(e.Metadata) // it came from JSON
		out.Attributes = attributes.New(metadataKey{}, metadata{value: e.Metadata, text: string(text)})
	}
	return out
}

// state returns what gRPC is told of endpoints. Some balancers, such as those of balancer/base, read only the addresses, which
// gRPC does not make from endpoints, as it does the other way round.
func state(endpoints []resolver.Endpoint) resolver.State {
	var addresses []resolver.Address
	for _, e := range endpoints {
		for _, a := range e.Addresses {
			a.BalancerAttributes = e.Attributes //nolint:staticcheck // it is deprecated only for addresses within endpoints
			addresses = append(addresses, a)
		}
	}
	return resolver.State{Endpoints: endpoints, Addresses: addresses}
}

// Metadata returns the metadata of an endpoint that a resolver of this package has found,
// as encoding/json decodes it into an any; nil if it has none. A balancer that is told of addresses instead makes the
// endpoint: resolver.Endpoint{Attributes: address.BalancerAttributes}.
func Metadata(e resolver.Endpoint) any {
	m, _ := e.Attributes.Value(metadataKey{}).(metadata)
	return m.value
}

// Weight returns the number "weight" in the endpoint's metadata, 1 if there is none or it
// is not positive.
func Weight(e resolver.Endpoint) float64 {
	members, _ := Metadata(e).(map[string]any)
	if weight, ok := members["weight"].(float64); ok && weight > 0 {
		return weight
	}
	return 1
}
