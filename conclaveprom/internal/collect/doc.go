// Package collect has what the metrics of locks on etcd and on Redis have in common.
package collect
