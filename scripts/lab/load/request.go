package load

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"jeton/node/token/tokentest"
)

const (
	pathToken        = "/_security/oauth2/token"
	pathAuthenticate = "/_security/_authenticate"
	pathUser         = "/_security/user/"
	pathOAuth2       = "/oauth2/"
)

// request is one request, to be sent to any target any number of times.
type request struct {
	kind   string // in figures
	method string
	path   string
	form   bool
	body   []byte
	bearer string // empty: the user who may do everything
}

func asJSON(kind, method, path string, body map[string]any) request {
	encoded, err := json.Marshal(body)
	if err != nil {
		panic(err) // strings and booleans
	}
	return request{kind: kind, method: method, path: path, body: encoded}
}

func asForm(kind, endpoint string, fields map[string]string) request {
	form := make(url.Values, len(fields))
	for name, value := range fields {
		form.Set(name, value)
	}
	return request{kind: kind, method: http.MethodPost, path: pathOAuth2 + endpoint, form: true, body: []byte(form.Encode())}
}

// requestFor is an operation as HTTP has it.
func requestFor(o order, pair tokentest.Pair) request {
	kind := o.kind()
	if o.oauth2 {
		switch o.in.Action {
		case tokentest.Issue:
			return asForm(kind, "token", map[string]string{"grant_type": "password", "username": o.person.name, "password": o.person.password})
		case tokentest.Refresh:
			return asForm(kind, "token", map[string]string{"grant_type": "refresh_token", "refresh_token": pair.Refresh})
		case tokentest.Authenticate:
			return asForm(kind, "introspect", map[string]string{"token": pair.Access})
		case tokentest.InvalidateAccess:
			return asForm(kind, "revoke", map[string]string{"token": pair.Access})
		case tokentest.InvalidateFamily:
			return asForm(kind, "revoke", map[string]string{"token": pair.Refresh})
		case tokentest.InvalidateRefresh, tokentest.InvalidateUser, tokentest.SetPassword: // it has no such thing
		}
	}
	switch o.in.Action {
	case tokentest.Issue:
		return asJSON(kind, http.MethodPost, pathToken, map[string]any{
			"grant_type": "password", "username": o.person.name, "password": o.person.password,
		})
	case tokentest.Refresh:
		return asJSON(kind, http.MethodPost, pathToken, map[string]any{"grant_type": "refresh_token", "refresh_token": pair.Refresh})
	case tokentest.InvalidateAccess:
		return asJSON(kind, http.MethodDelete, pathToken, map[string]any{"token": pair.Access})
	case tokentest.InvalidateRefresh:
		return asJSON(kind, http.MethodDelete, pathToken, map[string]any{"refresh_token": pair.Refresh})
	case tokentest.InvalidateFamily:
		return asJSON(kind, http.MethodDelete, pathToken, map[string]any{"refresh_token": pair.Refresh, "family": true})
	case tokentest.InvalidateUser:
		return asJSON(kind, http.MethodDelete, pathToken, map[string]any{"username": o.person.name})
	case tokentest.SetPassword: // to the same one: it ends all tokens like any other
		return asJSON(kind, http.MethodPost, pathUser+o.person.name+"/_password", map[string]any{"password": o.person.password})
	case tokentest.Authenticate:
	}
	return request{kind: kind, method: http.MethodGet, path: pathAuthenticate, bearer: pair.Access}
}

// kind names an operation in figures.
func (o order) kind() string {
	kinds := [...]string{
		"issue", "refresh", "authenticate", "invalidate access token", "invalidate refresh token", "invalidate family",
		"invalidate user", "set password",
	}
	return kinds[o.in.Action]
}

// enrolment makes a user.
func enrolment(p *person) request {
	return asJSON("put user", http.MethodPut, pathUser+p.name, map[string]any{"password": p.password, "roles": []string{}})
}

// build makes the HTTP request.
func (r *request) build(ctx context.Context, base, username, password string) (*http.Request, error) {
	built, err := http.NewRequestWithContext(ctx, r.method, strings.TrimSuffix(base, "/")+r.path, bytes.NewReader(r.body))
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	switch {
	case r.form:
		built.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	case r.body != nil:
		built.Header.Set("Content-Type", "application/json")
	}
	if r.bearer != "" {
		built.Header.Set("Authorization", "Bearer "+r.bearer)
	} else {
		built.SetBasicAuth(username, password)
	}
	return built, nil
}
