package etcdtest

// link is a connection between two members, the smaller index first.
type link struct{ a, b int }

func newLink(i, j int) link { return link{min(i, j), max(i, j)} }

// CutLink lets no raft message pass between members i and j, either way, until
// [Cluster.HealLinks]; messages are dropped. It may be called while one of them
// is stopped. Clients are not affected.
//
// This is done inside the servers rather than by proxies: the peer URL that a
// member dials is the same for all, so a proxy behind it could not tell one
// dialling member from another.
func (c *Cluster) CutLink(i, j int) error {
	for _, k := range []int{i, j} {
		if _, err := c.member(k); err != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cuts[newLink(i, j)] = struct{}{}
	c.cut(i, j)
	return nil
}

// Isolate cuts every link of member i. An isolated leader steps down after an
// election timeout, and knows no leader from then on.
func (c *Cluster) Isolate(i int) error {
	if _, err := c.member(i); err != nil {
		return err
	}
	for j := range c.members {
		if j == i {
			continue
		}
		if err := c.CutLink(i, j); err != nil {
			return err
		}
	}
	return nil
}

// HealLinks restores every link between members.
func (c *Cluster) HealLinks() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for l := range c.cuts {
		a, b := c.members[l.a], c.members[l.b]
		if s := a.server(); s != nil {
			s.MendPeer(b.id)
		}
		if s := b.server(); s != nil {
			s.MendPeer(a.id)
		}
	}
	clear(c.cuts)
}

// cut drops messages at both ends. mu must be held.
func (c *Cluster) cut(i, j int) {
	a, b := c.members[i], c.members[j]
	if s := a.server(); s != nil {
		s.CutPeer(b.id)
	}
	if s := b.server(); s != nil {
		s.CutPeer(a.id)
	}
}

// reapplyCuts cuts what was cut before member i was restarted.
func (c *Cluster) reapplyCuts(i int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for l := range c.cuts {
		if l.a == i || l.b == i {
			c.cut(l.a, l.b)
		}
	}
}

// hasMajority reports whether member i and those it reaches are a majority.
func (c *Cluster) hasMajority(i int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	reached := 0
	for j := range c.voters() {
		_, cut := c.cuts[newLink(i, j)]
		if !cut && c.members[j].server() != nil {
			reached++
		}
	}
	return reached > c.voters()/2
}
