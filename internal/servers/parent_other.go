//go:build !linux

package servers

import "errors"

func dieWithParent() error {
	return errors.New("servers: other versions of etcd are run on Linux only")
}
