package httpapi_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"jeton/httpapi"
)

func TestGlobMeansWhatARegularExpressionDoes(t *testing.T) {
	text := rapid.StringOfN(rapid.SampledFrom([]rune("aab.é")), 0, 12, -1)
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(text, 1, 4).Draw(t, "parts")
		name := rapid.OneOf(text, rapid.Just(strings.Join(parts, ""))).Draw(t, "name")
		pattern := strings.Join(parts, "*")
		for i, part := range parts {
			parts[i] = regexp.QuoteMeta(part)
		}
		want := regexp.MustCompile(`\A` + strings.Join(parts, `.*`) + `\z`).MatchString(name)
		if got := httpapi.Glob(pattern, name); got != want {
			t.Fatalf("%q matches %q: %t", pattern, name, got)
		}
	})
}

// Anybody may ask _has_privileges about names of its own making, and have the answer
// filtered: what both together cost must not be their product.
func TestGlobIsCheap(t *testing.T) {
	name := strings.Repeat("a", 60_000)
	for _, pattern := range []string{
		"*" + strings.Repeat("a", 30_000) + "b*", "*" + strings.Repeat("a", 30) + "b*",
		strings.Repeat("*a", 6_000) + "b", strings.Repeat("*aaaaaaaab", 10),
	} {
		started := time.Now()
		for range 50 { // a second each, if it were
			if httpapi.Glob(pattern, name) {
				t.Fatalf("%.20s... matches", pattern)
			}
			if took := time.Since(started); took > 5*time.Second {
				t.Fatalf("%.20s... takes long", pattern)
			}
		}
	}
}
