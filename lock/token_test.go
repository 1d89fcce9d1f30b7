package lock_test

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/lock"
)

// The token of a revision, and of the third local hand-off of its key.
const (
	token1042   lock.Token = 1042 << 20
	token1042dr lock.Token = 1042<<20 + 3
	// highestToken is the last one that fits.
	highestToken lock.Token = math.MaxInt64
)

func TestTokensAreTextOfRevisionAndSequence(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		token    lock.Token
		text     string
		revision int64
		sequence int
	}{
		{0, "0", 0, 0},
		{1, "0.1", 0, 1},
		{token1042, "1042", 1042, 0},
		{token1042dr, "1042.3", 1042, 3},
		{token1042 - 1, "1041.1048575", 1041, 1<<20 - 1},
		{highestToken, "8796093022207.1048575", 1<<43 - 1, 1<<20 - 1},
	} {
		require.Equal(t, c.text, c.token.String())
		require.Equal(t, c.revision, c.token.Revision())
		require.Equal(t, c.sequence, c.token.Sequence())
		parsed, err := lock.ParseToken(c.text)
		require.NoError(t, err)
		require.Equal(t, c.token, parsed)
	}
}

func TestParseTokenRefusesWhatIsNoToken(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{
		"", ".", "x", "-1", "+1", "1.", ".1", "1.x", "1.-1", "1.2.3", " 1", "1 ", "0x1", "1e3", "1_0",
		"8796093022208", "18446744073709551616", "1.1048576",
	} {
		_, err := lock.ParseToken(bad)
		require.ErrorContains(t, err, "lock: token", "%q", bad)
		var token lock.Token
		require.Error(t, token.UnmarshalText([]byte(bad)))
		require.Zero(t, token)
	}
}

func TestTokensAreTextInJSON(t *testing.T) {
	t.Parallel()
	type message struct {
		Token lock.Token            `json:"token"`
		Seen  map[lock.Token]string `json:"seen"`
	}
	m := message{token1042dr, map[lock.Token]string{token1042: "x"}}
	text, err := json.Marshal(m)
	require.NoError(t, err)
	require.JSONEq(t, `{"token":"1042.3","seen":{"1042":"x"}}`, string(text))
	var back message
	require.NoError(t, json.Unmarshal(text, &back))
	require.Equal(t, m, back)
	require.Error(t, json.Unmarshal([]byte(`{"token":"1042.x"}`), &back))
	require.Error(t, json.Unmarshal([]byte(`{"token":1042}`), &back), "numbers lose digits")
}

func TestTokensOfOneKeyAreBeforeThoseOfTheNext(t *testing.T) {
	t.Parallel()
	require.Less(t, token1042, token1042dr)
	next, err := lock.ParseToken("1043")
	require.NoError(t, err)
	require.Less(t, token1042dr, next)
}

func FuzzParseTokenReadsWhatStringWrites(f *testing.F) {
	for _, seed := range []string{"0", "1042", "1042.3", "1042.0", "01.01", "8796093022207.1048575", "x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		token, err := lock.ParseToken(s)
		if err != nil {
			return
		}
		require.GreaterOrEqual(t, token, lock.Token(0))
		again, err := lock.ParseToken(token.String())
		require.NoError(t, err)
		require.Equal(t, token, again)
	})
}
