package httpapi_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"jeton/fsm"
	"jeton/node/realm"
)

// TestRunAsStory: a proxy whose role lets it act as a user of the file realm, from HTTP
// to the state machine.
func TestRunAsStory(t *testing.T) {
	hasher, err := realm.NewHasher("pbkdf2_1000")
	if err != nil {
		t.Fatal(err)
	}
	verifier := newVerifier(t, hasher)
	s := newStack(t, newFiles(t, verifier), hasher)
	role := func(runAs ...string) {
		s.apply(fsm.PutRole{Role: fsm.Role{Name: "proxy", Cluster: []string{"manage_token"}, RunAs: runAs}})
	}
	role("f?y", "root")
	s.apply(fsm.PutRole{Role: fsm.Role{Name: "r0", Cluster: []string{"manage_token", "monitor"}}})
	s.apply(fsm.PutUser{Username: "proxy", Verifier: verifier, Roles: []fsm.RoleName{"proxy"}, Enabled: true})
	s.apply(fsm.PutUser{Username: "ann", Verifier: verifier, Roles: []fsm.RoleName{"r0"}, Enabled: true})

	const who = `{"username":"fay","roles":["r0","r1"],"full_name":null,"email":null,"metadata":{},"enabled":true,` +
		`"authentication_realm":{"name":"default_native","type":"native"},"lookup_realm":{"name":"default_file","type":"file"},"authentication_type":`
	want := func(what string, from sender, path string, status int, body string) {
		t.Helper()
		answer := s.send(http.MethodGet, path, "", from)
		if got := strings.TrimSuffix(answer.Body.String(), "\n"); answer.Code != status || body != "" && got != body {
			t.Errorf("%s: status %d, want %d\ngot  %s\nwant %s", what, answer.Code, status, got, body)
		}
	}
	fay := sender{username: "proxy", as: "fay"}
	want("as fay", fay, "/_security/_authenticate", 200, who+`"realm"}`)
	want("as fay, at the former path", fay, "/_xpack/security/_authenticate", 200, who+`"realm"}`)
	want("as fay, who may", fay, "/_cluster/health", 200, "")
	want("as itself, who may not", sender{username: "proxy"}, "/_cluster/health", 403, "")
	want("fay may not", fay, "/_security/user", 403, exception("security_exception", "action [cluster:admin/xpack/security/user/get] is unauthorized "+
		"for user [proxy] run as [fay] with effective roles [r0] (assigned roles [r1] were not found), "+
		"this action is granted by the cluster privileges [read_security,manage_security,all]", "403"))
	for _, other := range []fsm.Username{"ann", "root", "nobody", "kibana"} { // root does not exist
		for _, prefix := range []string{"/_security", "/_xpack/security"} {
			want("as "+string(other), sender{username: "proxy", as: other}, prefix+"/_authenticate", 403,
				exception("security_exception", "action [cluster:admin/xpack/security/user/authenticate] is unauthorized for user [proxy] "+
					"with effective roles [proxy], because user [proxy] is unauthorized to run as ["+string(other)+"]", "403"))
		}
	}

	answer := s.send(http.MethodPost, tokenPath, `{"grant_type":"client_credentials"}`, fay)
	var issued struct {
		AccessToken    string          `json:"access_token"`
		Authentication json.RawMessage `json:"authentication"`
	}
	if err := json.Unmarshal(answer.Body.Bytes(), &issued); err != nil || answer.Code != 200 {
		t.Fatalf("issue: status %d: %s", answer.Code, answer.Body)
	}
	if got := string(issued.Authentication); got != who+`"realm"}` {
		t.Errorf("issued for %s", got)
	}
	token := sender{token: &minted{access: realm.NewSecret(issued.AccessToken)}}
	want("by token", token, "/_security/_authenticate", 200, who+`"token"}`)
	onward := token
	onward.as = "fay"
	want("onward", onward, "/_security/_authenticate", 403, exception("security_exception",
		"action [cluster:admin/xpack/security/user/authenticate] is unauthorized for user [proxy] run as [fay] with effective roles [r0] "+
			"(assigned roles [r1] were not found), because user [proxy] is unauthorized to run as [fay]", "403"))

	role("ann")
	want("no longer allowed", token, "/_security/_authenticate", 401, "")
	role("fay")
	want("allowed again", token, "/_security/_authenticate", 200, "")
	s.apply(fsm.SetEnabled{Realm: fsm.RealmNative, Username: "proxy"})
	want("the proxy is disabled", token, "/_security/_authenticate", 401, "")
}
