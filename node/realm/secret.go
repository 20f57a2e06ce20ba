package realm

import (
	"fmt"
	"io"
	"log/slog"
)

// redacted is what every way of printing a [Secret] shows.
const redacted = "***"

// Secret is a password or token in the clear. However it is printed, encoded or
// logged it shows as ***; only Expose gives it away, so that every use can be found.
// The zero value is the empty secret.
type Secret struct{ value string }

// NewSecret wraps what came from a client or a secret file.
func NewSecret(value string) Secret { return Secret{value} }

// Expose returns the secret itself. The caller must not log, store or wrap it.
func (s Secret) Expose() string { return s.value }

// IsZero reports whether the secret is empty.
func (s Secret) IsZero() bool { return s.value == "" }

// String implements [fmt.Stringer].
func (s Secret) String() string { return redacted }

// GoString implements [fmt.GoStringer].
func (s Secret) GoString() string { return redacted }

// Format implements [fmt.Formatter]: no verb and no flag reaches the value.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText implements [encoding.TextMarshaler], and through it JSON and YAML.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON implements [json.Marshaler].
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// LogValue implements [slog.LogValuer].
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }
