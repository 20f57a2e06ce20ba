package httpapi_test

import (
	"testing"

	"jeton/fsm"
)

// A slash at the end of a name is part of the name. The one that was sent as %2F was
// once cut off with the path's own, and the request was carried out on another user.
func TestASlashInANameIsNotThePathsOwn(t *testing.T) {
	var got fsm.Username
	w := world{deleteUser: func(name fsm.Username) (bool, error) {
		got = name
		return true, nil
	}}
	for request, want := range map[string]fsm.Username{
		"DELETE /_security/user/bob":            "bob",
		"DELETE /_security/user/bob/":           "bob",
		"DELETE /_security/user/bob%2F":         "bob/",
		"DELETE /_security/user/bob%2F/":        "bob/",
		"DELETE /_security/user/bob%2f%2F":      "bob//",
		"DELETE /_xpack/security/user/%2Fbob/":  "/bob",
		"DELETE /_security/user/b%20o%25b%2F/":  "b o%b/",
		"DELETE /_security/user/bob?refresh=":   "bob",
		"DELETE /_security/user/bob/?refresh=":  "bob",
		"DELETE /_security/user/a%2F_password/": "a/_password",
	} {
		got = ""
		check(t, []call{{name: request, world: w, request: request, status: 200, want: `{"found":true}`}})
		if got != want {
			t.Errorf("%s: deleted %q, want %q", request, got, want)
		}
	}
}

// With a slash at its end, too, a path without names in it is not one that has some.
func TestASlashMakesNoName(t *testing.T) {
	with := serve(handlerOf(t, config(&world{})), &call{request: "GET /_security/user/_privileges/"})
	without := serve(handlerOf(t, config(&world{})), &call{request: "GET /_security/user/_privileges"})
	if with.Code != without.Code || with.Body.String() != without.Body.String() {
		t.Errorf("with a slash: %d %s\nwithout: %d %s", with.Code, with.Body, without.Code, without.Body)
	}
}
