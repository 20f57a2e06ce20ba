package httpapi_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"jeton/fsm"
	"jeton/httpapi"
	"jeton/node/realm"
	"jeton/node/token"
)

// patient authenticates nobody until the caller's patience ends.
type patient struct{}

func (patient) Authenticate(ctx context.Context, _ token.Credentials) (token.Caller, error) {
	<-ctx.Done()
	return token.Caller{}, fmt.Errorf("wait: %w", ctx.Err())
}

func (p patient) Recognize(ctx context.Context, c token.Credentials) (token.Caller, error) {
	return p.Authenticate(ctx, c)
}

func (p patient) AuthenticateForWrite(ctx context.Context, c token.Credentials) (token.Caller, error) {
	return p.Authenticate(ctx, c)
}

func (patient) RunAs(token.Caller, fsm.Username) (token.Caller, error) {
	return token.Caller{}, token.ErrRunAs
}

// The use cases as they are fit.
var (
	_ httpapi.Tokens        = (*token.Service)(nil)
	_ httpapi.Authenticator = (*token.Service)(nil)
	_ httpapi.Users         = (*realm.Users)(nil)
	_ httpapi.Roles         = (*realm.Roles)(nil)
)

// asked records with which kinds of authentication a request was tried.
func asked(list *[]string, c token.Caller) func(bool, token.Credentials) (token.Caller, error) {
	return func(confirmed bool, _ token.Credentials) (token.Caller, error) {
		kind := "local"
		if confirmed {
			kind = "confirmed"
		}
		*list = append(*list, kind)
		return c, nil
	}
}

func someone() token.Caller {
	return token.Caller{Identity: elastic(), Type: token.AuthenticationRealm}
}

// Which answers to a write are believed although its caller was authenticated by
// local state alone: those that the state machine made, and those that it could not
// make.
func TestWritesAreRepeatedUnlessDecided(t *testing.T) {
	const grant = `{"grant_type":"refresh_token","refresh_token":"r"}`
	local, both := []string{"local"}, []string{"local", "confirmed"}
	for _, c := range []struct {
		name      string
		err       error
		body      string
		authorize func(*fsm.Identity, string) error
		status    int
		want      []string
	}{
		{name: "success", body: grant, status: 200, want: local},
		{name: "refused by the state machine", err: &fsm.RefusalError{Reason: fsm.Reused}, body: grant, status: 400, want: local},
		{name: "unavailable", err: realm.ErrUnavailable, body: grant, status: 503, want: local},
		{name: "overloaded", err: realm.ErrOverloaded, body: grant, status: 503, want: local},
		{name: "busy", err: realm.ErrBusy, body: grant, status: 429, want: local},
		{name: "bad body", body: `{`, status: 400, want: both},
		{name: "bad request", body: `{}`, status: 400, want: both},
		{name: "forbidden", body: grant, authorize: forbid, status: 403, want: both},
		{name: "disabled", err: token.ErrDisabled, body: grant, status: 400, want: both},
		{name: "bug", err: errors.New("oops"), body: grant, status: 500, want: both},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			w := &world{
				authenticate: asked(&got, someone()),
				authorize:    c.authorize,
				refresh: func(caller token.Caller, _ token.RefreshRequest) (token.Pair, error) {
					return token.Pair{Identity: caller.Identity}, c.err
				},
			}
			answer := serve(handlerOf(t, config(w)), &call{request: "POST " + tokenPath, body: c.body})
			if answer.Code != c.status || !slices.Equal(got, c.want) {
				t.Errorf("status %d after %v, want %d after %v", answer.Code, got, c.status, c.want)
			}
		})
	}
}

// A node with a read lease may lack what is not about its caller. Its answers about
// other tokens, users and roles were once out of date: it introspected a token as active
// whose invalidation was acknowledged.
func TestOnlyAnswersOfTheCallerGoWithoutConfirmation(t *testing.T) {
	bob := http.Header{"Es-Security-Runas-User": {"bob"}}
	for _, c := range []struct {
		request, body string
		header        http.Header
		recognized    bool
	}{
		{request: "GET /_security/_authenticate", recognized: true},
		{request: "GET /_security/_authenticate", header: bob},
		{request: "GET /_security/user/_privileges", recognized: true},
		{request: "GET /_security/user/_has_privileges", body: `{"cluster":["monitor"]}`, recognized: true},
		{request: "GET /_forward_auth?role=superuser", recognized: true},
		{request: "GET /_security/oauth2/token"},
		{request: "GET /_security/user"},
		{request: "GET /_security/role"},
		{request: "POST /_security/realm/default_native/_clear_cache"},
		{request: "DELETE /_security/user/joe"},
	} {
		t.Run(c.request, func(t *testing.T) {
			got := false
			w := &world{recognized: func() { got = true }, runAs: asJoe}
			header := http.Header{"Authorization": {"Bearer tok"}}
			maps.Copy(header, c.header)
			serve(handlerOf(t, config(w)), &call{request: c.request, body: c.body, header: header})
			if got != c.recognized {
				t.Errorf("recognized %t, want %t", got, c.recognized)
			}
		})
	}
	t.Run("introspection", func(t *testing.T) {
		w := &world{recognized: func() { t.Error("not confirmed") }}
		header := http.Header{"Authorization": {"Bearer tok"}, "Content-Type": {"application/x-www-form-urlencoded"}}
		answer := serve(handlerOf(t, config(w)), &call{request: "POST /oauth2/introspect", body: "token=x", header: header})
		if answer.Code != http.StatusOK {
			t.Errorf("status %d: %s", answer.Code, answer.Body)
		}
	})
}

// A guard that no longer held is no answer: the request is tried again, with its
// whole body, and with the caller as it is by then.
func TestStaleWriteIsRepeated(t *testing.T) {
	var kinds []string
	attempts := 0
	w := &world{
		authenticate: asked(&kinds, someone()),
		deleteUser: func(fsm.Username) (bool, error) {
			if attempts++; attempts < 6 {
				return false, fmt.Errorf("propose: %w", realm.ErrStale)
			}
			return true, nil
		},
	}
	answer := serve(handlerOf(t, config(w)), &call{request: "DELETE /_security/user/joe"})
	want := []string{"local", "confirmed", "confirmed", "confirmed", "confirmed", "confirmed"}
	if answer.Code != 200 || !slices.Equal(kinds, want) {
		t.Errorf("status %d after %v, want 200 after %v", answer.Code, kinds, want)
	}
}

// When the caller's token has died meanwhile, the repetition says so.
func TestStaleWriteOfDeadCallerIsUnauthorized(t *testing.T) {
	w := &world{
		authenticate: func(confirmed bool, _ token.Credentials) (token.Caller, error) {
			if confirmed {
				return token.Caller{}, token.ErrExpired
			}
			return someone(), nil
		},
		refresh: func(token.Caller, token.RefreshRequest) (token.Pair, error) { return token.Pair{}, token.ErrStale },
	}
	for _, body := range []string{`{"grant_type":"refresh_token","refresh_token":"r"}`, `{"grant_type":"no"}`, `{`} {
		answer := serve(handlerOf(t, config(w)), &call{request: "POST " + tokenPath, body: body})
		if answer.Code != http.StatusUnauthorized {
			t.Errorf("%s: status %d", body, answer.Code)
		}
	}
}

func TestStaleWriteEndsWithTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		attempts := 0
		w := &world{deleteUser: func(fsm.Username) (bool, error) {
			attempts++
			return false, realm.ErrStale
		}}
		start := time.Now()
		answer := serve(handlerOf(t, config(w)), &call{request: "DELETE /_security/user/joe"})
		if answer.Code != http.StatusServiceUnavailable || time.Since(start) != 30*time.Second || attempts > 4000 {
			t.Errorf("status %d after %d attempts in %v", answer.Code, attempts, time.Since(start))
		}
	})
}

func TestReadsAreConfirmed(t *testing.T) {
	for _, path := range []string{"/", "/_cluster/health", "/_security/_authenticate", "/_security/user", "/_security/role/r"} {
		var got []string
		w := &world{authenticate: asked(&got, someone())}
		serve(handlerOf(t, config(w)), &call{request: "GET " + path})
		if !slices.Equal(got, []string{"confirmed"}) {
			t.Errorf("%s: authenticated by %v", path, got)
		}
	}
}
