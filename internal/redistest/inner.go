package redistest

import "github.com/alicebob/miniredis/v2"

// Redis returns the data of an embedded node, nil for a process.
func (n *Node) Redis() *miniredis.Miniredis {
	if n.embedded == nil {
		return nil
	}
	return n.embedded.redis
}
