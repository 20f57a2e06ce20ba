package httpapi_test

import (
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"net/http"
	"strings"
	"testing"

	"jeton/fsm"
	"jeton/node/token"
)

// wellFormed is an access token that nobody issued.
func wellFormed() string {
	random := make([]byte, 32)
	payload := binary.BigEndian.AppendUint32(random, crc32.ChecksumIEEE(append([]byte("jat_"), random...)))
	return "jat_" + base64.RawURLEncoding.EncodeToString(payload)
}

func TestRefusedAuthenticationHasItsReason(t *testing.T) {
	const get = "GET /_security/_authenticate"
	for _, c := range []struct {
		call
		want string
	}{
		{call{request: get, header: authorization("Bearer old")}, `reason="expired or invalidated token"`},
		{call{request: get, header: authorization("Bearer " + wellFormed())}, `reason="unknown token"`},
		{call{request: get, header: authorization("Bearer " + canary)}, `reason="malformed token"`},
		{call{request: get, header: authorization("Basic " + encode(canary+":"+canary))}, `reason="bad credentials"`},
		{call{request: get, header: authorization("Basic " + canary)}, `reason="malformed credentials"`},
		{call{request: get, header: authorization("Basic " + encode(canary))}, `reason="malformed credentials"`},
		{call{request: get, header: authorization()}, `reason="no credentials"`},
		{call{request: get, header: authorization("Bearer  ")}, `reason="no credentials"`},
		{call{request: get, header: authorization(canary)}, `reason="no credentials"`},
		{call{request: get, header: authorization("Negotiate " + canary)}, `reason="unsupported scheme"`},
		{call{request: get, header: authorization("ApiKey " + canary)}, `reason="unsupported scheme"`},
		{call{request: get, header: http.Header{"Es-Security-Runas-User": {""}}}, `reason="run as nobody"`},
		{call{request: "POST " + tokenPath, body: `{"grant_type":"password","username":"` + canary + `","password":"` + canary + `"}`}, `reason="bad credentials"`},
	} {
		h, lines := loggedHandler(t, &world{})
		if answer := serve(h, &c.call); answer.Code != http.StatusUnauthorized {
			t.Errorf("%s %v: status %d", c.request, c.header, answer.Code)
		}
		got := lines.String()
		if strings.Count(got, "[INFO]") != 1 || !strings.Contains(got, "authentication refused: ") || !strings.Contains(got, c.want+"\n") {
			t.Errorf("%s %v: want %s in\n%s", c.request, c.header, c.want, got)
		}
		if strings.Contains(got, canary) || strings.Contains(got, "jat_") {
			t.Errorf("%s %v: the log holds what the client sent:\n%s", c.request, c.header, got)
		}
	}
}

func TestReuseIsASecurityEvent(t *testing.T) {
	owner := fsm.Principal{Username: "joe", Realm: fsm.Realm{Name: fsm.RealmNative, Type: "native"}}
	const refused = "[INFO]  refresh refused: method=POST route=/_security/oauth2/token remote=192.0.2.1:1234 client=elastic@reserved " +
		`reason="token has already been refreshed more than 30 seconds in the past"`
	for _, c := range []struct {
		name string
		err  error
		want string
	}{
		{
			"the family ended", &token.ReuseError{Owner: owner, Ended: 4},
			"[WARN]  refresh token reused, session ended: method=POST route=/_security/oauth2/token remote=192.0.2.1:1234 " +
				"client=elastic@reserved user=joe realm=default_native count=4\n",
		},
		{"the family was left alive", &token.ReuseError{Owner: owner}, refused},
		{"nobody knows", &fsm.RefusalError{Reason: fsm.Reused}, refused},
	} {
		h, lines := loggedHandler(t, &world{
			refresh: func(token.Caller, token.RefreshRequest) (token.Pair, error) { return token.Pair{}, c.err },
		})
		answer := serve(h, &call{request: "POST " + tokenPath, body: `{"grant_type":"refresh_token","refresh_token":"` + canary + `"}`})
		want := `{"error":"invalid_grant","error_description":"token has already been refreshed more than 30 seconds in the past"}`
		if answer.Code != http.StatusBadRequest || answer.Body.String() != want {
			t.Errorf("%s: status %d, body %s", c.name, answer.Code, answer.Body)
		}
		got := lines.String()
		if !strings.Contains(got, c.want) || strings.Count(got, "[INFO]")+strings.Count(got, "[WARN]") != 1 || strings.Contains(got, canary) {
			t.Errorf("%s: want %s in\n%s", c.name, c.want, got)
		}
	}
}
