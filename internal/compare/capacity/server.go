package capacity

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// Names of metrics that every etcd shows.
const (
	serverCPU = "process_cpu_seconds_total"
	serverRSS = "process_resident_memory_bytes"
	serverWAL = "etcd_disk_wal_write_bytes_total"
)

// metrics returns what a member shows at its client address, without what has labels.
func metrics(ctx context.Context, address string) (map[string]float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Close = true // a connection that stays open would be a goroutine more
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // read only
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("metrics of %s: %s", address, resp.Status)
	}
	return parseMetrics(resp.Body)
}

// parseMetrics reads the text format, and of it the metrics without labels.
func parseMetrics(text io.Reader) (map[string]float64, error) {
	all := map[string]float64{}
	lines := bufio.NewScanner(text)
	for lines.Scan() {
		name, value, ok := strings.Cut(lines.Text(), " ")
		if !ok || strings.HasPrefix(name, "#") || strings.Contains(name, "{") {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return nil, fmt.Errorf("metric %s: %w", name, err)
		}
		all[name] = v
	}
	return all, lines.Err()
}
