// Package cluster gives the examples their etcd: an embedded one unless the user
// names another, by flags or by the environment variables that etcdctl knows.
package cluster
