package vtime

import _ "unsafe" // for go:linkname

// valCtxCh is clientv3's variable, see the package comment.
//
//nolint:gochecknoglobals // it belongs to clientv3
//go:linkname valCtxCh go.etcd.io/etcd/client/v3.valCtxCh
var valCtxCh chan struct{}

// borrowed reports whether clientv3, which is initialized before this package, had made the channel. Were the variable
// gone, the linker would silently provide a nil one of its own.
//
//nolint:gochecknoglobals // set during initialization, before any goroutine could be reading valCtxCh
var borrowed = func() bool {
	made := valCtxCh != nil
	valCtxCh = nil
	return made
}()
