package httpapi_test

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"jeton/fsm"
	"jeton/node/token"
)

// kibana is Kibana's token module (tokens.ts of its security plugin) as far as the
// server can tell: what it sends as kibana_system, and what it makes of the answers.
type kibana struct {
	*live
	t *testing.T
}

func newKibana(t *testing.T) kibana {
	t.Helper()
	k := kibana{newLive(t), t}
	k.sends("PUT /_security/user/kibana_system/_password", basicOf("elastic", livePassword), `{"password":"kibana-password"}`, http.StatusOK)
	k.sends("PUT /_security/user/joe", basicOf("elastic", livePassword), `{"password":"joe-password","roles":["viewer"],"full_name":"Joe"}`, http.StatusOK)
	return k
}

func basicOf(username, password string) string { return "Basic " + encode(username+":"+password) }

// sends returns the answer, decoded; it must have the status.
func (k kibana) sends(request, authorization, body string, status int) map[string]any {
	k.t.Helper()
	answer := serve(k.server.Handler(), &call{request: request, body: body, header: http.Header{
		"Authorization": {authorization}, "Accept": {"application/vnd.elasticsearch+json; compatible-with=9"},
	}})
	if answer.Code != status {
		k.t.Fatalf("%s: status %d, want %d: %s", request, answer.Code, status, answer.Body)
	}
	if product := answer.Header().Get("X-Elastic-Product"); product != "Elasticsearch" {
		k.t.Fatalf("%s: a client would not believe that this is %q", request, product)
	}
	var decoded map[string]any
	if err := json.Unmarshal(answer.Body.Bytes(), &decoded); err != nil {
		k.t.Fatalf("%s: %v", request, err)
	}
	return decoded
}

// asks sends a request of the token module, in its own name.
func (k kibana) asks(request, body string, status int) map[string]any {
	k.t.Helper()
	return k.sends(request, basicOf("kibana_system", "kibana-password"), body, status)
}

// logsIn is the token provider's login.
func (k kibana) logsIn() (access, refresh string) {
	k.t.Helper()
	answer := k.asks("POST /_security/oauth2/token", `{"grant_type":"password","username":"joe","password":"joe-password"}`, http.StatusOK)
	access, _ = answer["access_token"].(string)
	refresh, _ = answer["refresh_token"].(string)
	if who, _ := answer["authentication"].(map[string]any); who["username"] != "joe" || access == "" || refresh == "" {
		k.t.Fatalf("login: %v", answer)
	}
	return access, refresh
}

func (k kibana) passes(d time.Duration) { k.elapsed.Add(d.Milliseconds()) }

func TestKibanaLogsInWithAPassword(t *testing.T) {
	k := newKibana(t)
	access, _ := k.logsIn()
	who := k.sends("GET /_security/_authenticate", "Bearer "+access, "", http.StatusOK)
	if who["username"] != "joe" || who["authentication_type"] != "token" {
		t.Errorf("the token is %v", who)
	}
	wrong := k.asks("POST /_security/oauth2/token", `{"grant_type":"password","username":"joe","password":"wrong-password"}`, http.StatusUnauthorized)
	refusal, _ := wrong["error"].(map[string]any)
	if reason := refusal["reason"]; reason != "unable to authenticate user [joe] for action [cluster:admin/xpack/security/token/create]" {
		t.Errorf("a wrong password: %v", reason)
	}
}

// The Kerberos provider sends the browser's ticket, and takes 401 for "cannot".
func TestKibanaLogsInWithKerberos(t *testing.T) {
	k := newKibana(t)
	k.asks("POST /_security/oauth2/token", `{"grant_type":"_kerberos","kerberos_ticket":"dGlja2V0"}`, http.StatusUnauthorized)
	k.asks("POST /_security/oauth2/token", `{"grant_type":"_kerberos"}`, http.StatusBadRequest)
}

// There are no API keys, which Kibana grants by another endpoint, for its tasks only.
func TestKibanaIsToldThatThereAreNoAPIKeys(t *testing.T) {
	k := newKibana(t)
	k.asks("POST /_security/api_key/grant", `{"grant_type":"access_token","access_token":"x","api_key":{"name":"n"}}`, http.StatusNotFound)
}

func TestKibanaRefreshes(t *testing.T) {
	k := newKibana(t)
	_, refresh := k.logsIn()
	body := `{"grant_type":"refresh_token","refresh_token":"` + refresh + `"}`
	first := k.asks("POST /_security/oauth2/token", body, http.StatusOK)
	again := k.asks("POST /_security/oauth2/token", body, http.StatusOK) // two tabs at once
	if first["access_token"] != again["access_token"] || first["refresh_token"] != again["refresh_token"] {
		t.Error("two tabs got two pairs")
	}
	if who, _ := first["authentication"].(map[string]any); who["username"] != "joe" || who["authentication_type"] != "token" {
		t.Errorf("authentication: %v", who)
	}
}

// Any 400 ends the session, with a message chosen by the description; the texts are
// those that Kibana compares with.
func TestKibanaEndsTheSessionAtA400(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(k kibana, refresh string)
		as      string
		want    string
	}{
		"refreshed long ago": {
			prepare: func(k kibana, refresh string) {
				k.asks("POST /_security/oauth2/token", `{"grant_type":"refresh_token","refresh_token":"`+refresh+`"}`, http.StatusOK)
				k.passes(31 * time.Second)
			},
			want: "token has already been refreshed more than 30 seconds in the past",
		},
		"of a user who was deleted": {
			prepare: func(k kibana, _ string) {
				k.sends("DELETE /_security/user/joe", basicOf("elastic", livePassword), "", http.StatusOK)
			},
			want: "token has been invalidated",
		},
		"of another client": {as: basicOf("elastic", livePassword), want: "tokens must be refreshed by the creating client"},
		"invalidated": {
			prepare: func(k kibana, refresh string) {
				k.asks("DELETE /_security/oauth2/token", `{"refresh_token":"`+refresh+`"}`, http.StatusOK)
			},
			want: "token has been invalidated",
		},
		"expired": {prepare: func(k kibana, _ string) { k.passes(liveLifetime + time.Second) }, want: "token document has expired"},
	} {
		t.Run(name, func(t *testing.T) {
			k := newKibana(t)
			_, refresh := k.logsIn()
			if c.prepare != nil {
				c.prepare(k, refresh)
			}
			as := c.as
			if as == "" {
				as = basicOf("kibana_system", "kibana-password")
			}
			answer := k.sends("POST /_security/oauth2/token", as, `{"grant_type":"refresh_token","refresh_token":"`+refresh+`"}`, http.StatusBadRequest)
			if answer["error"] != "invalid_grant" || answer["error_description"] != c.want {
				t.Errorf("%v, want %s", answer, c.want)
			}
		})
	}
	k := newKibana(t)
	answer := k.asks("POST /_security/oauth2/token", `{"grant_type":"refresh_token","refresh_token":"garbage"}`, http.StatusBadRequest)
	if answer["error_description"] != "could not refresh the requested token" {
		t.Errorf("%v", answer)
	}
}

// A 401 with a bearer token makes Kibana refresh.
func TestKibanaRefreshesAtA401(t *testing.T) {
	k := newKibana(t)
	access, _ := k.logsIn()
	k.passes(liveLifetime + time.Second)
	answer := serve(k.server.Handler(), &call{request: "GET /_security/_authenticate", header: authorization("Bearer " + access)})
	if answer.Code != http.StatusUnauthorized || answer.Header().Get("Www-Authenticate") != `Bearer realm="security", error="invalid_token", error_description="The access token expired"` {
		t.Errorf("status %d, %v", answer.Code, answer.Header())
	}
}

// A logout invalidates the refresh token, then the access token. One that is not known
// any more is 404 with a count of 0, which is fine as well.
func TestKibanaLogsOut(t *testing.T) {
	k := newKibana(t)
	access, refresh := k.logsIn()
	for _, step := range []struct {
		body   string
		status int
		count  float64
	}{
		{`{"refresh_token":"` + refresh + `"}`, http.StatusOK, 1},
		{`{"token":"` + access + `"}`, http.StatusOK, 1},
		{`{"refresh_token":"` + refresh + `"}`, http.StatusOK, 0},
		{`{"token":"` + access + `"}`, http.StatusOK, 0},
		{`{"token":"garbage"}`, http.StatusNotFound, 0},
		{`{"refresh_token":"garbage"}`, http.StatusNotFound, 0},
	} {
		if answer := k.asks("DELETE /_security/oauth2/token", step.body, step.status); answer["invalidated_tokens"] != step.count {
			t.Errorf("%s: %v, want a count of %v", step.body, answer, step.count)
		}
	}
	k.sends("GET /_security/_authenticate", "Bearer "+access, "", http.StatusUnauthorized)
}

// An outage is rethrown, and the session kept.
func TestKibanaKeepsTheSessionInAnOutage(t *testing.T) {
	w := world{refresh: func(token.Caller, token.RefreshRequest) (token.Pair, error) {
		return token.Pair{}, &fsm.RefusalError{Reason: fsm.StaleDecision}
	}}
	answer := serve(handlerOf(t, config(&w)), &call{request: "POST " + tokenPath, body: `{"grant_type":"refresh_token","refresh_token":"r"}`})
	if answer.Code < 500 {
		t.Errorf("status %d: Kibana would end the session", answer.Code)
	}
}

// A token service that is switched off tells so by a member that is part of the contract.
func TestKibanaIsToldThatTokensAreDisabled(t *testing.T) {
	w := world{issue: func(token.Caller, token.IssueRequest) (token.Pair, error) { return token.Pair{}, token.ErrDisabled }}
	answer := serve(handlerOf(t, config(&w)), &call{request: "POST " + tokenPath, body: `{"grant_type":"client_credentials"}`})
	var body struct {
		Error map[string]any
	}
	if err := json.Unmarshal(answer.Body.Bytes(), &body); err != nil || answer.Code != 400 || body.Error["disabled.feature"] != "security_tokens" {
		t.Errorf("status %d: %s", answer.Code, answer.Body)
	}
}
