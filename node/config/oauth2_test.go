package config_test

import (
	"strings"
	"testing"

	"jeton/node/config"
)

func TestIssuer(t *testing.T) {
	for _, good := range []string{
		"https://id.example.org", "https://id.example.org:8443", "https://example.org/id", "https://example.org/a-b/c.d~_/0",
		"https://[2001:db8::1]/id", "http://localhost:9200", "http://127.0.0.1", "http://[::1]:9200/x",
	} {
		got := load(t, complete, nil, map[string]string{"oauth2.issuer": good, "oauth2.public_clients": "true"})
		if want := (config.OAuth2{Issuer: good, PublicClients: true}); got.OAuth2 != want {
			t.Errorf("%s: %+v", good, got.OAuth2)
		}
	}
	if got := load(t, complete, nil, nil).OAuth2; got != (config.OAuth2{}) {
		t.Errorf("by default: %+v", got)
	}
	for bad, want := range map[string]string{
		"id.example.org":                 "is no URL",
		"https://":                       "is no URL",
		"https:///id":                    "is no URL",
		"https://a b/":                   "is no URL",
		"https://exa\"mple.org":          "is no URL",
		"https://joe:secret@example.org": "is no URL",
		"http://id.example.org":          "must begin with https://",
		"ftp://localhost":                "must begin with https://",
		"https://example.org?x":          "must not have a query",
		"https://example.org/#":          "must not have a query",
		"https://example.org/":           "must end without a slash",
		"https://example.org/id/":        "must end without a slash",
		"https://example.org//id":        "must end without a slash",
		"https://example.org/../id":      "must end without a slash",
		"https://example.org/%2e":        "must end without a slash",
		"https://example.org/{id}":       "must end without a slash",
		"https://example.org/_security":  "must end without a slash",
		"HTTPS://example.org":            "must end without a slash",
	} {
		_, err := config.Load(write(t, complete), nil, map[string]string{"oauth2.issuer": bad})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", bad, err, want)
		}
	}
}
