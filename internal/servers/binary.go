package servers

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// BinaryVariable begins the names of variables that say where executables of other
// versions of etcd are, as CONCLAVE_ETCD_36 does for 3.6.
const BinaryVariable = "CONCLAVE_ETCD_"

// versionTimeout bounds the question what version an executable is.
const versionTimeout = 10 * time.Second

// PathVersion is, for [Binary], whatever version the etcd in the PATH is.
const PathVersion = "PATH"

// Binary returns an executable of a version of etcd, "3.6": the one that its variable
// names, or else the etcd in the PATH.
func Binary(version string) (path string, err error) {
	path, of, err := binary(version)
	if err == nil && version != PathVersion && !strings.HasPrefix(of, version+".") {
		err = fmt.Errorf("it is %s", of)
	}
	if err != nil {
		return "", fmt.Errorf("needs etcd %s: %s: %w", version, BinaryVariable+strings.ReplaceAll(version, ".", ""), err)
	}
	return path, nil
}

// BinaryVersion returns what version exactly [Binary] returns; "" for none.
func BinaryVersion(version string) string {
	_, of, _ := binary(version)
	return of
}

func binary(version string) (path, of string, err error) {
	if path = os.Getenv(BinaryVariable + strings.ReplaceAll(version, ".", "")); path == "" {
		if path, err = exec.LookPath("etcd"); err != nil {
			return "", "", err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), versionTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return "", "", err
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return path, strings.TrimPrefix(line, "etcd Version: "), nil
}
