// Package servers runs what locks are kept on as processes: the members of an etcd
// cluster, each a copy of this program, and Redis nodes.
package servers
