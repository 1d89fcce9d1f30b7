package conclavetest_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/conclavetest"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

// exampleTest is what a test has as its t, which an Example has not.
type exampleTest struct {
	testing.TB

	cleanups []func()
}

// newExample returns one whose clean-ups run at the end of the Example.
func newExample() *exampleTest { return &exampleTest{} }

func (t *exampleTest) Helper()                           {}
func (t *exampleTest) Name() string                      { return "Example" }
func (t *exampleTest) Context() context.Context          { return context.Background() }
func (t *exampleTest) Cleanup(fn func())                 { t.cleanups = append(t.cleanups, fn) }
func (t *exampleTest) Error(args ...any)                 { panic(fmt.Sprint(args...)) }
func (t *exampleTest) Fatal(args ...any)                 { panic(fmt.Sprint(args...)) }
func (t *exampleTest) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

func (t *exampleTest) end() {
	for _, fn := range slices.Backward(t.cleanups) {
		fn()
	}
}

// lockJob locks "job" once and unlocks it.
func lockJob(ctx context.Context, client *clientv3.Client) error {
	session, err := lease.NewSession(ctx, client)
	if err != nil {
		return err
	}
	defer func() { _ = session.Close(ctx) }()
	mutex, err := lock.NewMutex(session, "job")
	if err != nil {
		return err
	}
	return mutex.Do(ctx, func(context.Context, *lock.Hold) error { return nil })
}

// The member that leads is cut off from its peers, and goes on answering clients. The others elect another leader, and
// a client of all members finds them.
func ExampleCluster_Isolate() {
	t := newExample() // in a test: its own
	defer t.end()
	cluster := conclavetest.NewCluster(t, conclavetest.WithMembers(3))
	client := cluster.Client(t)

	leader := cluster.Leader(t)
	cluster.Isolate(t, leader)
	fmt.Println("locked and unlocked:", lockJob(t.Context(), client))
	cluster.Rejoin(t)
	fmt.Println("and again:", lockJob(t.Context(), client))
	// Output:
	// locked and unlocked: <nil>
	// and again: <nil>
}

// A learner is among the endpoints, as after an operator has added a member.
func ExampleWithLearner() {
	t := newExample()
	defer t.end()
	cluster := conclavetest.NewCluster(t, conclavetest.WithLearner())

	fmt.Println(len(cluster.Endpoints()), "endpoints")
	for range 3 {
		fmt.Println("locked and unlocked:", lockJob(t.Context(), cluster.Client(t)))
	}
	// Output:
	// 2 endpoints
	// locked and unlocked: <nil>
	// locked and unlocked: <nil>
	// locked and unlocked: <nil>
}

// A proxy lets ten streams pass. Who holds a lock needs few, however many keys there are.
func ExampleWithMaxStreams() {
	t := newExample()
	defer t.end()
	cluster := conclavetest.NewCluster(t, conclavetest.WithMaxStreams(10))

	fmt.Println("locked and unlocked:", lockJob(t.Context(), cluster.Client(t)))
	// Output: locked and unlocked: <nil>
}

// A round trip of 100 ms.
func ExampleNetwork_Slow() {
	t := newExample()
	defer t.end()
	cluster := conclavetest.NewCluster(t)
	network := cluster.Network(t)
	client := network.Client(t)
	_, _ = client.Get(t.Context(), "any") // connects

	network.Slow(t, 50*time.Millisecond)
	began := time.Now()
	_, err := client.Get(t.Context(), "any")
	fmt.Println(err, time.Since(began) >= 100*time.Millisecond)
	network.Heal()
	// Output: <nil> true
}

// A line of 200 kB a second, which a value of 100 kB keeps busy.
func ExampleNetwork_Limit() {
	t := newExample()
	defer t.end()
	cluster := conclavetest.NewCluster(t)
	network := cluster.Network(t)
	client := network.Client(t)
	_, _ = client.Get(t.Context(), "any") // connects

	network.Limit(t, 200_000)
	began := time.Now()
	_, err := client.Put(t.Context(), "key", string(make([]byte, 100_000)))
	fmt.Println(err, time.Since(began) >= 400*time.Millisecond)
	// Output: <nil> true
}

// The database is full: locks that are held stay so, new ones are refused until there is room.
func ExampleCluster_FillUp() {
	t := newExample()
	defer t.end()
	cluster := conclavetest.NewCluster(t)
	client := cluster.Client(t)

	cluster.FillUp(t)
	_, err := client.Put(t.Context(), "key", "value")
	fmt.Println(err)
	cluster.MakeRoom(t)
	fmt.Println("locked and unlocked:", lockJob(t.Context(), client))
	// Output:
	// etcdserver: mvcc: database space exceeded
	// locked and unlocked: <nil>
}

// The role of the program's user lacks a permission. No user has to be set up for that.
func ExampleNetwork_RefuseCall() {
	t := newExample()
	defer t.end()
	cluster := conclavetest.NewCluster(t)
	network := cluster.Network(t)

	refused := network.RefuseCall(t, "Put", rpctypes.ErrGRPCPermissionDenied)
	_, err := network.Client(t).Put(t.Context(), "key", "value")
	<-refused
	fmt.Println(err)
	// Output: etcdserver: permission denied
}
