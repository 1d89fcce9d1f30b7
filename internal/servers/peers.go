package servers

import (
	"errors"
	"fmt"
	"time"
)

// errBinary is why another version cannot be told to do something wrong.
var errBinary = errors.New("servers: a member of another version takes no orders")

// tell gives a member an order, if it is there.
func (m *member) tell(order string) error {
	p := m.running()
	switch {
	case p == nil:
		return nil
	case m.job.Binary != "":
		return fmt.Errorf("%w: %s: %q", errBinary, m.job.Name, order)
	default:
		return p.Send(order)
	}
}

// Isolate drops all messages between member i and the others, until Mend. Members are
// told so rather than cut off by proxies: all dial a member at the same peer URL, so that
// a proxy there could not tell one from another, and half of the streams between two
// members are dialled by either side.
func (e *Etcd) Isolate(i int) error {
	var errs []error
	for j, m := range e.list {
		if j != i {
			errs = append(errs,
				m.tell(fmt.Sprintf("%s%x", cutPeer, e.list[i].id)),
				e.list[i].tell(fmt.Sprintf("%s%x", cutPeer, m.id)))
		}
	}
	return errors.Join(errs...)
}

// LosePeers lets each member drop messages to and from the others for so many percent of
// the time, in moments that it draws, until Mend.
func (e *Etcd) LosePeers(percent int) error {
	var errs []error
	for _, m := range e.list {
		errs = append(errs, m.tell(fmt.Sprintf("%s%d", losePeers, percent)))
	}
	return errors.Join(errs...)
}

// SlowPeers lets everything between members be late by d, each way, until Mend. It takes
// [WithPeerProxies].
func (e *Etcd) SlowPeers(d time.Duration) error {
	for _, m := range e.list {
		if m.peers == nil {
			return errors.New("servers: slow links take WithPeerProxies")
		}
		m.peers.Delay(d)
	}
	return nil
}

// Mend ends what Isolate, LosePeers and SlowPeers did.
func (e *Etcd) Mend() error {
	var errs []error
	for _, m := range e.list {
		if m.peers != nil {
			m.peers.Heal()
		}
		if m.job.Binary == "" {
			errs = append(errs, m.tell(mendPeers))
		}
	}
	return errors.Join(errs...)
}

// StallDisk lets the disk of member i not answer any more: it goes on until it has to
// write.
func (e *Etcd) StallDisk(i int) error { return e.list[i].tell(stallDisk) }

// FreeDisk ends what StallDisk did: what was to be written is.
func (e *Etcd) FreeDisk(i int) error { return e.list[i].tell(freeDisk) }
