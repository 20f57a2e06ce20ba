package realm_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"jeton/node/realm"
)

func TestSecretShowsNothingHoweverItIsPrinted(t *testing.T) {
	const canary = "canary-s3cret"
	s := realm.NewSecret(canary)
	type holder struct {
		Password realm.Secret
		Pointer  *realm.Secret
		Any      any
	}
	h := holder{Password: s, Pointer: &s, Any: s}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T", "%10.3s", "%-20v"} {
		fmt.Fprintf(&out, verb+"\n", s)
		fmt.Fprintf(&out, verb+"\n", &s)
		fmt.Fprintf(&out, verb+"\n", h)
		fmt.Fprintf(&out, verb+"\n", []realm.Secret{s})
		fmt.Fprintf(&out, verb+"\n", map[realm.Secret]realm.Secret{s: s})
	}
	fmt.Fprintln(&out, s, &s, h, s.String(), s.GoString(), fmt.Errorf("failed: %v", s))
	if err := json.NewEncoder(&out).Encode([]any{s, &s, h, map[string]any{"p": s}}); err != nil {
		t.Fatal(err)
	}
	for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(handler).Info("login", "password", s, "pointer", &s, "holder", h)
	}
	if strings.Contains(out.String(), canary) || strings.Contains(out.String(), fmt.Sprintf("%x", canary)) {
		t.Errorf("the secret is shown:\n%s", out.String())
	}
	if s.Expose() != canary {
		t.Errorf("Expose() = %q", s.Expose())
	}
}

func TestSecretIsZeroOnlyWhenEmpty(t *testing.T) {
	if !(realm.Secret{}).IsZero() || !realm.NewSecret("").IsZero() || realm.NewSecret(" ").IsZero() {
		t.Error("IsZero is not len == 0")
	}
}
