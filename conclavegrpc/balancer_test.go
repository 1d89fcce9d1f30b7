package conclavegrpc_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/balancer/base"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/resolver"

	"github.com/conclave-go/conclave/conclavegrpc"
	"github.com/conclave-go/conclave/internal/etcdtest"
)

// heaviest is a balancer as balancer/base makes them. Calls go to the address with the greatest weight.
const heaviest = "conclavegrpc_test_heaviest"

//nolint:gochecknoinits // balancers are registered before there are connections
func init() { balancer.Register(base.NewBalancerBuilder(heaviest, picks{}, base.Config{})) }

type picks struct{}

func (picks) Build(info base.PickerBuildInfo) balancer.Picker {
	if len(info.ReadySCs) == 0 {
		return base.NewErrPicker(balancer.ErrNoSubConnAvailable)
	}
	var heaviest always
	most := 0.0
	for conn, its := range info.ReadySCs {
		its := resolver.Endpoint{Attributes: its.Address.BalancerAttributes} //nolint:staticcheck // all that such a balancer has
		if weight := conclavegrpc.Weight(its); weight > most {
			heaviest, most = always{conn}, weight
		}
	}
	return heaviest
}

// always picks one connection.
type always struct{ conn balancer.SubConn }

func (a always) Pick(balancer.PickInfo) (balancer.PickResult, error) {
	return balancer.PickResult{SubConn: a.conn}, nil
}

func TestABalancerThatReadsAddressesHasThemWithTheirMetadata(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	client, name := c.Client(t), service(t, c)
	light, heavy, session := newServer(t), newServer(t), newSession(t, c.Client(t))
	register(t, session, name, "light", light.addr)
	_, err := conclavegrpc.Register(guarded(t), session, name, "heavy",
		conclavegrpc.Endpoint{Addr: heavy.addr, Metadata: map[string]any{"weight": 2}})
	require.NoError(t, err)

	conn, err := grpc.NewClient("etcd:///"+name, grpc.WithResolvers(newBuilder(t, client)),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"`+heaviest+`":{}}]}`))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	awaitCallers(t, conn, heavy.addr)
}
