package redistest

import (
	"context"
	_ "embed"
	bits "encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

//go:embed skew/clock.c
var skewSource string

// skewVariable names the file with the skew to the library.
const skewVariable = "REDISTEST_SKEW"

// ErrNoSkew is returned where the clock of a server cannot be moved: it was started
// without [WithClockLibrary].
var ErrNoSkew = errors.New("redistest: the node's clock cannot be moved")

// CompileClock makes the library for [WithClockLibrary] in a directory, with the C
// compiler in the PATH, and returns its path. It works on Linux.
func CompileClock(ctx context.Context, dir string) (string, error) {
	compiler, err := exec.LookPath("cc")
	if err != nil {
		return "", fmt.Errorf("redistest: no C compiler: %w", err)
	}
	path := filepath.Join(dir, "clock.so")
	cmd := exec.CommandContext(ctx, compiler, "-shared", "-fPIC", "-O1", "-x", "c", "-o", path, "-")
	cmd.Stdin = strings.NewReader(skewSource)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("redistest: compiling the clock: %w: %s", err, out)
	}
	return path, nil
}

// WithClockLibrary loads what [CompileClock] has made into processes, so that
// [Node.SkewClock] can move their wall clocks. Embedded nodes do without.
func WithClockLibrary(path string) Option { return func(c *config) { c.clock = path } }

// skewFile makes the file that says by how much the clock of a process is wrong.
func (p *process) skewFile() string { return filepath.Join(p.dir.Path(), "skew") }

// environment is that of the process.
func (p *process) environment() ([]string, error) {
	if p.cfg.clock == "" {
		return os.Environ(), nil
	}
	env := append(os.Environ(), "LD_PRELOAD="+p.cfg.clock, skewVariable+"="+p.skewFile())
	if _, err := os.Stat(p.skewFile()); err == nil {
		return env, nil // its clock stays wrong when it restarts
	}
	return env, os.WriteFile(p.skewFile(), make([]byte, 8), 0o600)
}

// skew is written in place: the server has the file in its memory.
func (p *process) skew(d time.Duration) error {
	if p.cfg.clock == "" {
		return ErrNoSkew
	}
	f, err := os.OpenFile(p.skewFile(), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(bits.NativeEndian.AppendUint64(nil, uint64(d.Milliseconds())))
	return errors.Join(err, f.Close())
}

// SkewClock lets the wall clock of a node be wrong by d, whatever it was before. That of
// an embedded node moves forward by d instead. It returns [ErrNoSkew] for processes
// without [WithClockLibrary].
func (n *Node) SkewClock(d time.Duration) error {
	if n.embedded != nil {
		n.embedded.redis.FastForward(max(0, d))
		return nil
	}
	return n.process.skew(d)
}
