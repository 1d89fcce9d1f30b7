package main

import (
	"regexp"
	"strconv"
	"strings"
	"unicode"
)

// page is a Markdown file, as far as it can be checked.
type page struct {
	path    string
	anchors map[string]bool
	links   []link
	blocks  []block
	spans   []span
}

// link is a target with the line it stands in.
type link struct {
	target string
	line   int
}

// span is code within a line.
type span struct {
	text string
	line int
}

// block is a fenced block of code. Its text begins at the line after the given one.
type block struct {
	lang     string
	text     string
	line     int
	preamble string // of the comment before it
	file     string // that the comment before it says it is a copy of
}

func (p *page) countLinks() int    { return len(p.links) }
func (p *page) countCommands() int { return len(p.commands()) }

func (p *page) countGo() (n int) {
	for _, b := range p.blocks {
		if b.lang == "go" {
			n++
		}
	}
	return n
}

var (
	fence      = regexp.MustCompile("^ {0,3}(```+|~~~+)\\s*([A-Za-z]*)")
	heading    = regexp.MustCompile(`^ {0,3}#{1,6}\s+(.*?)\s*#*\s*$`)
	copyOf     = regexp.MustCompile(`^<!-- file: (\S+) -->$`)
	codeSpan   = regexp.MustCompile("`([^`]+)`")
	inlineLink = regexp.MustCompile(`\]\(<?([^)\s>]+)>?(?:\s+"[^"]*")?\)`)
	definition = regexp.MustCompile(`^ {0,3}\[[^\]^][^\]]*\]:\s+(\S+)`) // not a footnote
	attribute  = regexp.MustCompile(`\b(?:href|src|srcset)="([^"]+)"`)
	identity   = regexp.MustCompile(`\b(?:id|name)="([^"]+)"`)
	linkText   = regexp.MustCompile(`!?\[([^\]]*)\]\([^)]*\)`)
)

// parse reads the Markdown that this repository uses, without nested fences. Of indented
// code it knows commands only.
func parse(path, text string) *page {
	p := &page{path: path, anchors: map[string]bool{}}
	lines := strings.Split(text, "\n")
	preamble, file := "", ""
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		if m := fence.FindStringSubmatch(line); m != nil {
			b := block{lang: m[2], line: i + 1, preamble: preamble, file: file}
			i = b.read(lines, i+1, m[1])
			p.blocks = append(p.blocks, b)
			preamble, file = "", ""
			continue
		}
		if rest, ok := strings.CutPrefix(line, "<!-- go"); ok && strings.TrimSpace(rest) == "" {
			preamble, i = comment(lines, i+1)
			continue
		}
		if m := copyOf.FindStringSubmatch(line); m != nil {
			file = m[1]
			continue
		}
		if strings.TrimSpace(line) != "" {
			preamble, file = "", ""
		}
		p.readLine(line, i+1)
	}
	return p
}

// read takes the lines from i up to the closing fence, whose index it returns.
func (b *block) read(lines []string, i int, mark string) int {
	from := i
	for i < len(lines) && !strings.HasPrefix(strings.TrimLeft(lines[i], " "), mark) {
		i++
	}
	b.text = strings.Join(lines[from:i], "\n") + "\n"
	return i
}

// comment returns the lines from i up to the end of an HTML comment, and its index.
func comment(lines []string, i int) (text string, end int) {
	from := i
	for i < len(lines) && strings.TrimSpace(lines[i]) != "-->" {
		i++
	}
	return strings.Join(lines[from:i], "\n") + "\n", i
}

func (p *page) readLine(line string, number int) {
	if code, ok := strings.CutPrefix(line, "    "); ok && spanCommand.MatchString(code) {
		code, _, _ = strings.Cut(code, " #")
		p.spans = append(p.spans, span{strings.TrimSpace(code), number})
		return
	}
	for _, m := range codeSpan.FindAllStringSubmatch(line, -1) {
		p.spans = append(p.spans, span{m[1], number})
	}
	if m := heading.FindStringSubmatch(line); m != nil {
		p.addAnchor(slug(m[1]))
	}
	plain := codeSpan.ReplaceAllString(line, "code")
	for _, m := range identity.FindAllStringSubmatch(plain, -1) {
		p.anchors[m[1]] = true
	}
	for _, re := range []*regexp.Regexp{inlineLink, definition, attribute} {
		for _, m := range re.FindAllStringSubmatch(plain, -1) {
			p.links = append(p.links, link{m[1], number})
		}
	}
}

// addAnchor numbers headings of the same text, as GitHub does.
func (p *page) addAnchor(name string) {
	unique := name
	for n := 1; p.anchors[unique]; n++ {
		unique = name + "-" + strconv.Itoa(n)
	}
	p.anchors[unique] = true
}

// slug returns the anchor that GitHub gives a heading.
func slug(text string) string {
	text = linkText.ReplaceAllString(text, "$1")
	var b strings.Builder
	for _, r := range strings.ToLower(text) {
		switch {
		case unicode.IsLetter(r) || unicode.IsDigit(r) || r == '-' || r == '_':
			b.WriteRune(r)
		case r == ' ':
			b.WriteByte('-')
		}
	}
	return b.String()
}
