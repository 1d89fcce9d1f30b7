package chaos

import (
	"fmt"
	"os"
	"strings"
)

// The lines between which a document has the verdicts of a run.
const (
	documentBegin = "<!-- verdicts -->\n"
	documentEnd   = "<!-- end of verdicts -->\n"
)

// Document replaces the verdicts in a document, docs/chaos.md, by those of this run.
func (r *Report) Document(path, command string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, begins := strings.Cut(string(text), documentBegin)
	_, after, ends := strings.Cut(rest, documentEnd)
	if !begins || !ends {
		return fmt.Errorf("chaos: %s has no lines %q and %q", path, strings.TrimSpace(documentBegin), strings.TrimSpace(documentEnd))
	}
	verdicts := fmt.Sprintf("`go run ./examples/%s` on %s:\n\n```text\n%s```\n", command, r.Began.UTC().Format("2 January 2006"), r.Text())
	return os.WriteFile(path, []byte(before+documentBegin+verdicts+documentEnd+after), 0o644)
}
