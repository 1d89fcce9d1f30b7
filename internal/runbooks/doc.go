// Package runbooks plays the run-books of docs/operations.md: its test takes the commands
// from the page and runs them, as they stand there, against real members of etcd with
// etcdctl and etcdutl of the same version. It is a module of its own, outside go.work, so
// that their dependencies stay out of everything else.
package runbooks
