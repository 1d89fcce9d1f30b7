package perf

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// disk returns a directory for temporary files that is on a disk: where /tmp is in
// memory, an fsync there would cost nothing.
func disk() (string, error) {
	var tried []string
	for _, dir := range []string{os.TempDir(), "/var/tmp", "."} {
		if name := FileSystem(dir); name != "tmpfs" && name != "ramfs" && name != "" {
			return dir, nil
		}
		tried = append(tried, dir)
	}
	return "", fmt.Errorf("perf: no directory on a disk among %q; set TMPDIR to one", tried)
}

// FileSystem returns the kind of file system that a directory is on, or the empty string
// if there is no such directory.
func FileSystem(dir string) string {
	var stat unix.Statfs_t
	if unix.Statfs(dir, &stat) != nil {
		return ""
	}
	switch kind := stat.Type; kind {
	case unix.TMPFS_MAGIC:
		return "tmpfs"
	case unix.RAMFS_MAGIC:
		return "ramfs"
	case unix.EXT4_SUPER_MAGIC:
		return "ext4"
	case unix.XFS_SUPER_MAGIC:
		return "xfs"
	case unix.BTRFS_SUPER_MAGIC:
		return "btrfs"
	case unix.OVERLAYFS_SUPER_MAGIC:
		return "overlayfs"
	default:
		return fmt.Sprintf("%#x", kind)
	}
}
