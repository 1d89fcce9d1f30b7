package queue

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// MaxName is the longest name in bytes.
	MaxName = 1024
	// MaxOwner is the longest owner in bytes.
	MaxOwner = 256
	// ownSegment is what path segments that belong to Conclave begin with.
	ownSegment = "~"
	// SequenceBits is how many low bits of a fencing token count the hand-offs of
	// one entry within its process; the others are the entry's create revision.
	SequenceBits = 20
)

// Prefix returns what the keys of all entries of a name and kind begin with. Names
// cannot contain the segment, so no two of these lie within each other.
func Prefix(name, kind string) string { return All(name) + kind + "/" }

// All returns what the keys of all entries of a name begin with, of whatever kind.
func All(name string) string { return name + "/" + ownSegment }

// KindOf returns the kind of an entry of the given name.
func KindOf(name, key string) string {
	kind, _, _ := strings.Cut(strings.TrimPrefix(key, All(name)), "/")
	return kind
}

// CheckName refuses names that would be hard to see, or whose keys could lie among
// those of another primitive.
func CheckName(name string) error {
	switch {
	case name == "":
		return errors.New("name is empty: must be at least one byte")
	case len(name) > MaxName:
		return fmt.Errorf("name of %d bytes: must be at most %d", len(name), MaxName)
	case !utf8.ValidString(name):
		return fmt.Errorf("name %q: must be valid UTF-8", name)
	case strings.ContainsFunc(name, unicode.IsControl):
		return fmt.Errorf("name %q: must not contain control characters", name)
	case strings.HasSuffix(name, "/"):
		return fmt.Errorf("name %q: must not end with a slash", name)
	}
	for part := range strings.SplitSeq(name, "/") {
		if strings.HasPrefix(part, ownSegment) {
			return fmt.Errorf("name %q: segment %q is reserved: must not begin with %q", name, part, ownSegment)
		}
	}
	return nil
}

// CheckOwner refuses owners that do not fit into an entry.
func CheckOwner(owner string) error {
	if len(owner) > MaxOwner {
		return fmt.Errorf("owner of %d bytes: must be at most %d", len(owner), MaxOwner)
	}
	if !utf8.ValidString(owner) {
		return fmt.Errorf("owner %q: must be valid UTF-8", owner)
	}
	return nil
}

// DefaultOwner returns "host:pid".
func DefaultOwner() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	return fmt.Sprintf("%s:%d", host, os.Getpid())
}
