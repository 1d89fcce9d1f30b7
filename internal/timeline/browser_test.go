package timeline_test

import (
	"context"
	"fmt"
	"html"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// browser returns where Chromium is.
func browser(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skip("SKIPPED: no Chromium in the PATH")
	return ""
}

// measure says of the page in a frame what a reader sees of it: how far it goes
// beyond the frame, what is wider than the part it is in and does not scroll there,
// how many labels of charts are shown, and how many of those touch another one's box.
const measure = `<!DOCTYPE html><meta charset="utf-8">
<iframe id="f" style="border:0;width:%dpx;height:900px" srcdoc="%s"></iframe>
<pre id="out"></pre>
<script>
onload = () => {
  const d = document.getElementById('f').contentDocument, root = d.documentElement;
  const boxes = [...d.querySelectorAll('.plot text')].map(e => [e, e.getBoundingClientRect()]).filter(([e, b]) => b.width > 0);
  let touching = 0;
  for (const [e, b] of boxes) for (const [f, c] of boxes)
    if (e !== f && e.ownerSVGElement === f.ownerSVGElement && b.left < c.right - 1 && c.left < b.right - 1 && b.top < c.bottom - 3 && c.top < b.bottom - 3) touching++;
  const outside = boxes.filter(([e, b]) => { const s = e.ownerSVGElement.getBoundingClientRect(); return b.left < s.left - 1 || b.right > s.right + 1 }).length;
  const rows = [...d.querySelectorAll('.lanes')].filter(l => Math.abs(l.querySelector('.names').lastElementChild.getBoundingClientRect().bottom - l.querySelector('.plot svg').getBoundingClientRect().bottom) > 1).length;
  document.getElementById('out').textContent =
    'sideways=' + (root.scrollWidth - root.clientWidth) + ' labels=' + boxes.length + ' touching=' + touching + ' outside=' + outside + ' misaligned=' + rows + ' end';
}
</script>`

func TestPageFitsScreensInABrowser(t *testing.T) {
	t.Parallel()
	path := browser(t)
	page := write(t, sample())
	for _, width := range []int{1280, 390} {
		t.Run(fmt.Sprint(width), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			file := filepath.Join(dir, "page.html")
			require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, measure, width, html.EscapeString(page)), 0o600))
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			out, err := exec.CommandContext(ctx, path, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom",
				"--user-data-dir="+filepath.Join(dir, "profile"), fmt.Sprintf("--window-size=%d,900", width+40), "file://"+file).Output()
			require.NoError(t, err)
			found := regexp.MustCompile(`sideways=(-?\d+) labels=(\d+) touching=(\d+) outside=(\d+) misaligned=(\d+) end`).FindSubmatch(out)
			require.NotNil(t, found, "no measurement")
			number := func(i int) int {
				n, err := strconv.Atoi(string(found[i]))
				require.NoError(t, err)
				return n
			}
			assert.LessOrEqual(t, number(1), 0, "pixels that the page is wider than the screen")
			assert.Greater(t, number(2), 40, "labels that are shown")
			assert.Zero(t, number(3), "labels that touch")
			assert.Zero(t, number(4), "labels that are cut off")
			assert.Zero(t, number(5), "charts whose names are not beside their lanes")
		})
	}
}
