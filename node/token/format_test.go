package token_test

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"strings"
	"testing"

	"jeton/node/realm"
	"jeton/node/token"
)

// wellFormed is the documented format, read the slow way.
func wellFormed(prefix, s string) bool {
	rest, ok := strings.CutPrefix(s, prefix)
	if !ok || len(s) != 52 {
		return false
	}
	payload, err := base64.RawURLEncoding.Strict().DecodeString(rest)
	if err != nil || len(payload) != 36 || base64.RawURLEncoding.EncodeToString(payload) != rest {
		return false
	}
	return binary.BigEndian.Uint32(payload[32:]) == crc32.ChecksumIEEE(append([]byte(prefix), payload[:32]...))
}

func TestIssuedTokensAreWellFormed(t *testing.T) {
	c := newCluster(t, 1, newClock().now, nil)
	c.putUser("joe", "secret")
	pair := c.nodes[0].mustIssue("joe", "secret")
	if got := pair.AccessToken.Expose(); !wellFormed("jat_", got) {
		t.Errorf("access token %q", got)
	}
	if got := pair.RefreshToken.Expose(); !wellFormed("jrt_", got) {
		t.Errorf("refresh token %q", got)
	}
}

// refuse checks that something is refused at the door: no look-up, no read confirmed.
func refuse(t *testing.T, n *testNode, s string) {
	t.Helper()
	lookups, confirmations := n.lookups.Load(), n.confirmations.Load()
	credentials := bearer(realm.NewSecret(s))
	if _, err := n.Authenticate(t.Context(), credentials); !errors.Is(err, token.ErrUnknown) {
		t.Errorf("%q: Authenticate: %v", s, err)
	}
	if _, err := n.AuthenticateForWrite(t.Context(), credentials); !errors.Is(err, token.ErrUnknown) {
		t.Errorf("%q: AuthenticateForWrite: %v", s, err)
	}
	if n.lookups.Load() != lookups || n.confirmations.Load() != confirmations {
		t.Errorf("%q was looked up or asked about", s)
	}
}

func TestEverySingleByteCorruptionIsRefusedWithoutLookUp(t *testing.T) {
	c := newCluster(t, 1, newClock().now, nil)
	c.putUser("joe", "secret")
	n := c.nodes[0]
	whole := n.mustIssue("joe", "secret").AccessToken.Expose()
	for i := range len(whole) {
		for b := range 256 {
			if damaged := []byte(whole); damaged[i] != byte(b) {
				damaged[i] = byte(b)
				refuse(t, n, string(damaged))
			}
		}
	}
}

func TestWhatIsNotAnAccessTokenIsRefusedWithoutLookUp(t *testing.T) {
	c := newCluster(t, 1, newClock().now, nil)
	c.putUser("joe", "secret")
	n := c.nodes[0]
	pair := n.mustIssue("joe", "secret")
	access, refresh := pair.AccessToken.Expose(), pair.RefreshToken.Expose()
	for name, s := range map[string]string{
		"empty":              "",
		"prefix":             "jat_",
		"truncated":          access[:51],
		"extended":           access + "A",
		"padded":             access + "=",
		"line break":         access[:20] + "\n" + access[20:],
		"line break in size": access[:20] + "\n" + access[20:51],
		"refresh token":      refresh,
		"prefix swapped":     "jat_" + refresh[4:],
		"upper case":         strings.ToUpper(access),
		"space around":       " " + access,
		"standard alphabet":  "jat_" + strings.Repeat("+", 48),
		"zeroes":             strings.Repeat("\x00", 52),
		"elasticsearch's":    "46ToAxYzNUdPZWdYOFRQcWhjeHR3NWpvTmVB",
		"long":               strings.Repeat("A", 1<<16),
	} {
		t.Run(name, func(t *testing.T) { refuse(t, n, s) })
	}
}

func FuzzBearerIsLookedUpOnlyIfWellFormed(f *testing.F) {
	f.Add("")
	f.Add("jat_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9zejLG")
	f.Add("jat_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9zejLH")
	f.Add("jrt_ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj_Q0zD9")
	f.Add("jat_\nAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9zejLG")
	n := newCluster(f, 1, newClock().now, nil).nodes[0]
	f.Fuzz(func(t *testing.T, s string) {
		before := n.lookups.Load()
		_, err := n.AuthenticateForWrite(t.Context(), bearer(realm.NewSecret(s)))
		if !errors.Is(err, token.ErrUnknown) {
			t.Fatalf("%q: %v", s, err)
		}
		if looked := n.lookups.Load() != before; looked != wellFormed("jat_", s) {
			t.Fatalf("%q: looked up: %v", s, looked)
		}
	})
}
