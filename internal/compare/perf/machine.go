package perf

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/version"
)

// Machine is what a run was on, and with.
type Machine struct {
	Date   string `json:"date"`
	Go     string `json:"go"`
	System string `json:"system"`
	Kernel string `json:"kernel"`
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Etcd   string `json:"etcd"`
	Redis  string `json:"redis"`
	// FileSystem is what etcd's data are on. FsyncP50 and FsyncP99 are how long it takes
	// there to write 4 KiB to disk, in milliseconds.
	FileSystem string  `json:"file_system"`
	FsyncP50   float64 `json:"fsync_ms_p50"`
	FsyncP99   float64 `json:"fsync_ms_p99"`
	// Modules are the versions of the libraries that take part.
	Modules map[string]string `json:"modules"`
}

// Same reports whether figures of both can stand beside each other.
func (m Machine) Same(other Machine) bool {
	return m.System == other.System && m.CPU == other.CPU && m.Cores == other.Cores && m.FileSystem == other.FileSystem
}

// String describes the machine in a line.
func (m Machine) String() string {
	return fmt.Sprintf("%s, %d cores, %s, %s; %s; etcd %s, redis %s; %s: an fsync of 4 KiB takes %s ms (p99 %s ms)",
		m.CPU, m.Cores, m.System, m.Kernel, m.Go, m.Etcd, cmp.Or(m.Redis, "none"), m.FileSystem, Short(m.FsyncP50), Short(m.FsyncP99))
}

// ThisMachine looks at the machine and measures its disk, which takes a second or so.
func ThisMachine(ctx context.Context, now time.Time) (Machine, error) {
	dir, err := disk()
	if err != nil {
		return Machine{}, err
	}
	took, err := fsyncs(ctx, dir)
	if err != nil {
		return Machine{}, fmt.Errorf("perf: fsync: %w", err)
	}
	return Machine{
		Date: now.UTC().Format(time.DateOnly), Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH,
		Kernel: firstLine("/proc/sys/kernel/osrelease", ""), CPU: firstLine("/proc/cpuinfo", "model name"),
		Cores: runtime.NumCPU(), Etcd: version.Version, Redis: redisVersion(ctx),
		FileSystem: FileSystem(dir), FsyncP50: P50.of(took), FsyncP99: P99.of(took), Modules: modules(),
	}, nil
}

// fsyncs returns how long writes of 4 KiB to disk take, in milliseconds, sorted.
func fsyncs(ctx context.Context, dir string) ([]float64, error) {
	const times, size = 200, 4096
	dir, err := os.MkdirTemp(dir, "conclave-fsync-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	f, err := os.Create(filepath.Join(dir, "file"))
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	var took []float64
	for range times {
		began := time.Now()
		if _, err := f.Write(make([]byte, size)); err != nil {
			return nil, err
		}
		if err := f.Sync(); err != nil {
			return nil, err
		}
		took = append(took, float64(time.Since(began))/float64(time.Millisecond))
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
	return sortedCopy(took), nil
}

// firstLine returns the first line of a file that begins with a word, without that, or
// the empty string.
func firstLine(path, word string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if after, ok := strings.CutPrefix(line, word); ok {
			return strings.TrimSpace(strings.TrimLeft(after, " \t:"))
		}
	}
	return ""
}

// redisVersion returns the version of the redis-server in the PATH, or the empty string.
func redisVersion(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "redis-server", "--version").Output()
	if err != nil {
		return ""
	}
	_, after, _ := strings.Cut(string(out), "v=")
	v, _, _ := strings.Cut(after, " ")
	return v
}

// modules returns the versions of the libraries that this program is built with and that
// figures depend on.
func modules() map[string]string {
	matter := []string{
		"github.com/bsm/redislock", "github.com/go-redsync/redsync/v4", "github.com/redis/go-redis/v9",
		"github.com/redis/rueidis/rueidislock", "go.etcd.io/etcd/client/v3", "go.etcd.io/etcd/server/v3",
		"google.golang.org/grpc", "k8s.io/client-go",
	}
	versions := make(map[string]string)
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return versions
	}
	for _, m := range info.Deps {
		if slices.Contains(matter, m.Path) {
			versions[m.Path] = m.Version
		}
	}
	return versions
}

// WriteMachine writes the machine as JSON.
func WriteMachine(to io.Writer, m Machine) error {
	e := json.NewEncoder(to)
	e.SetIndent("", "  ")
	return e.Encode(m)
}

// ReadMachine reads what [WriteMachine] has written.
func ReadMachine(from io.Reader) (m Machine, err error) {
	if err := json.NewDecoder(from).Decode(&m); err != nil {
		return m, fmt.Errorf("perf: machine: %w", err)
	}
	return m, nil
}
