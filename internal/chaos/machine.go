package chaos

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"runtime/debug"
	"strings"

	"go.etcd.io/etcd/api/v3/version"

	"github.com/conclave-go/conclave/internal/process"
	"github.com/conclave-go/conclave/internal/servers"
)

func canPause() bool { return process.CanPause }

// machine says what this one is.
func machine() string {
	text := fmt.Sprintf("%s/%s, %d processors", runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	if cpu, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if m := regexp.MustCompile(`(?m)^model name\s*: (.*)$`).FindSubmatch(cpu); m != nil {
			text += ", " + string(m[1])
		}
	}
	return text
}

// versions says what runs.
func versions(ctx context.Context) map[string]string {
	v := map[string]string{"go": runtime.Version(), "etcd": version.Version, "redis": "miniredis, as there is no redis-server"}
	if servers.HasRedis() {
		if out, err := exec.CommandContext(ctx, "redis-server", "--version").Output(); err == nil {
			if m := regexp.MustCompile(`v=(\S+)`).FindSubmatch(out); m != nil {
				v["redis"] = string(m[1])
			}
		}
	}
	v["old etcd"], v["etcd before"] = servers.BinaryVersion(servers.PathVersion), servers.BinaryVersion(upgraded)
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				v["conclave"] = strings.TrimSpace(s.Value)[:12]
			}
		}
	}
	return v
}
