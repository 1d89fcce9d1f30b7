package main

import (
	"os"
	"path/filepath"
)

// checkCopies compares the blocks that say they are copies with their files.
func checkCopies(t *tree) ([]finding, error) {
	var found []finding
	for _, p := range t.sorted() {
		for _, b := range p.blocks {
			if b.file == "" {
				continue
			}
			text, err := os.ReadFile(filepath.Join(t.root, b.file))
			switch {
			case err != nil:
				found = append(found, finding{p.path, b.line, "copy of a file: " + err.Error()})
			case string(text) != b.text:
				found = append(found, finding{p.path, b.line, "not what is in " + b.file})
			}
		}
	}
	return found, nil
}
