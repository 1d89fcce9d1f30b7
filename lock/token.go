package lock

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/conclave-go/conclave/internal/queue"
)

const (
	sequenceBits = queue.SequenceBits
	maxSequence  = 1<<sequenceBits - 1
	maxRevision  = math.MaxInt64 >> sequenceBits
)

// Token is a fencing token: it strictly increases from one exclusive holder of a name to
// the next. A resource that remembers the highest token it has seen can refuse a holder
// that was superseded and does not know it, see [Fence]. Tokens of different names are not
// comparable.
//
// It is the create revision of the holder's key, shifted to leave room for a
// sequence number of hand-offs within the process. The zero Token belongs to nobody.
type Token int64

// newToken returns the token for a key's create revision.
func newToken(revision int64) Token { return Token(revision << sequenceBits) }

// Revision returns the create revision of the holder's key in etcd.
func (t Token) Revision() int64 { return int64(t) >> sequenceBits }

// Sequence returns how many times the key had been handed on within its process.
func (t Token) Sequence() int { return int(t & maxSequence) }

// String returns the revision in decimal, followed by a dot and the sequence number
// if that is not 0: "1042" or "1042.3".
func (t Token) String() string {
	if t.Sequence() == 0 {
		return strconv.FormatInt(t.Revision(), 10)
	}
	return fmt.Sprintf("%d.%d", t.Revision(), t.Sequence())
}

// ParseToken reads what [Token.String] returns.
func ParseToken(s string) (Token, error) {
	rev, seq, dotted := strings.Cut(s, ".")
	r, err := strconv.ParseUint(rev, 10, 64)
	if err != nil || r > maxRevision {
		return 0, fmt.Errorf("lock: token %q: revision must be a decimal number from 0 to %d", s, int64(maxRevision))
	}
	if !dotted {
		return newToken(int64(r)), nil
	}
	n, err := strconv.ParseUint(seq, 10, 64)
	if err != nil || n > maxSequence {
		return 0, fmt.Errorf("lock: token %q: sequence number must be a decimal number from 0 to %d", s, maxSequence)
	}
	return newToken(int64(r)) | Token(n), nil
}

// MarshalText returns the token as [Token.String] does. It makes JSON carry text,
// because 64-bit numbers do not survive every JSON reader.
func (t Token) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads what MarshalText returns.
func (t *Token) UnmarshalText(text []byte) error {
	parsed, err := ParseToken(string(text))
	if err != nil {
		return err
	}
	*t = parsed
	return nil
}
