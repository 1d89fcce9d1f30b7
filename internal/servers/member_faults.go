package servers

import (
	"math/rand/v2"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"unsafe"

	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/etcdserver"
)

// memberFaults is what a member does wrong because it was told to.
type memberFaults struct {
	server  *etcdserver.EtcdServer
	disk    *sync.RWMutex
	stalled bool
	cut     []types.ID
	losing  int // percent
}

// obey carries out an order.
func (m *memberFaults) obey(order string) {
	what, argument, _ := strings.Cut(order, " ")
	switch {
	case order == stallDisk && !m.stalled:
		m.disk.Lock()
		m.stalled = true
	case order == freeDisk && m.stalled:
		m.disk.Unlock()
		m.stalled = false
	case order == mendPeers:
		m.mend()
	case what+" " == cutPeer:
		if id, err := strconv.ParseUint(argument, 16, 64); err == nil {
			m.server.CutPeer(types.ID(id))
			m.cut = append(m.cut, types.ID(id))
		}
	case what+" " == losePeers:
		if n, err := strconv.Atoi(argument); err == nil {
			m.losing = n
		}
	}
}

// mend lets all messages pass again.
func (m *memberFaults) mend() {
	m.losing = 0
	for _, id := range m.cut {
		m.server.MendPeer(id)
	}
	m.cut = nil
}

// lose drops what is sent to and comes from some of the others, until the next time.
func (m *memberFaults) lose() {
	if m.losing == 0 {
		return
	}
	percent := m.losing
	m.mend()
	m.losing = percent
	for _, other := range m.server.Cluster().Members() {
		if other.ID != m.server.MemberID() && rand.IntN(100) < percent {
			m.server.CutPeer(other.ID)
			m.cut = append(m.cut, other.ID)
		}
	}
}

// diskOf returns the mutex that a server's storage holds while it writes to its log: for
// who has locked it, the disk does not answer. A server has no other seam there: its files
// are opened by name, and it makes its system calls itself.
func diskOf(s *etcdserver.EtcdServer) *sync.RWMutex {
	storage := reflect.ValueOf(s).Elem().FieldByName("r").FieldByName("raftNodeConfig").FieldByName("storage")
	mux := storage.Elem().Elem().FieldByName("mux")
	if mux.Type() != reflect.TypeFor[sync.RWMutex]() {
		panic("servers: etcd's storage has changed")
	}
	return (*sync.RWMutex)(unsafe.Pointer(mux.UnsafeAddr()))
}
