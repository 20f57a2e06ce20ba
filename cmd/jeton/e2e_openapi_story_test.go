package main

import "slices"

// openAPISettings are those of the cluster that the description is compared with:
// short deadlines, so that outages are soon answered.
const openAPISettings = `
request.timeout: 2s
oauth2.issuer: https://tokens.example.org
`

// openAPIStep is one request of the story, and the status of its answer.
type openAPIStep struct {
	status  int
	request string // method and target; paths under /_security are asked under each of its prefixes
	body    string
	as      string // "": elastic; guest; nobody; else the header's value
	form    bool   // the body is a form
	header  map[string]string
}

// openAPIStory succeeds once with each operation and fails in the ways that are its
// own; what can be wrong with any request is in variations. $access and $refresh are
// the tokens of the pair that was given last.
func openAPIStory() []openAPIStep {
	return slices.Concat(tokenStory, userStory, roleStory, oauth2Story, gatewayStory(), clusterStory)
}

var tokenStory = []openAPIStep{
	{status: 200, request: "PUT /_security/user/guest?refresh=true", body: `{"password":"another-long-password","roles":[]}`},
	{status: 200, request: "POST /_security/oauth2/token?pretty", body: `{"grant_type":"client_credentials","scope":"FULL"}`},
	{status: 200, request: "POST /_security/oauth2/token", body: `{"grant_type":"password","username":"elastic","password":"$password"}`},
	{status: 200, request: "GET /_security/_authenticate", as: "Bearer $access"},
	{status: 200, request: "POST /_security/oauth2/token", body: `{"grant_type":"refresh_token","refresh_token":"$refresh"}`},
	{status: 401, request: "POST /_security/oauth2/token", body: `{"grant_type":"password","username":"elastic","password":"wrong-password"}`},
	{status: 401, request: "POST /_security/oauth2/token", body: `{"grant_type":"_kerberos","kerberos_ticket":"YIIB"}`},
	{status: 400, request: "POST /_security/oauth2/token", body: `{"grant_type":"refresh_token","refresh_token":"unknown"}`},
	{status: 400, request: "POST /_security/oauth2/token", body: `{"grant_type":"password"}`},
	{status: 400, request: "POST /_security/oauth2/token", body: `{"grant_type":"authorization_code"}`},
	{status: 400, request: "POST /_security/oauth2/token"},
	{status: 200, request: "DELETE /_security/oauth2/token", body: `{"token":"$access"}`},
	{status: 401, request: "GET /_security/_authenticate", as: "Bearer $access"},
	{status: 200, request: "DELETE /_security/oauth2/token", body: `{"refresh_token":"$refresh"}`},
	{status: 404, request: "DELETE /_security/oauth2/token", body: `{"token":"unknown"}`},
	{status: 200, request: "DELETE /_security/oauth2/token", body: `{"username":"nobody","realm_name":"default_native"}`},
	{status: 400, request: "DELETE /_security/oauth2/token", body: `{"token":"a","refresh_token":"b"}`},
	{status: 400, request: "DELETE /_security/oauth2/token", body: `{}`},
	{status: 200, request: "POST /_security/oauth2/token", body: `{"grant_type":"password","username":"guest","password":"another-long-password"}`},
	{status: 200, request: "GET /_security/oauth2/token?owner=true&active_only=true", as: guest},
	{status: 200, request: "GET /_security/oauth2/token?username=guest&realm_name=default_native&size=1"},
	{status: 403, request: "GET /_security/oauth2/token", as: guest},
	{status: 400, request: "GET /_security/oauth2/token?after=nowhere"},
	{status: 200, request: "DELETE /_security/oauth2/token", body: `{"token":"$access","pair":true}`},
	{status: 200, request: "DELETE /_security/oauth2/token", body: `{"refresh_token":"$refresh","family":true}`},
	{status: 404, request: "DELETE /_security/oauth2/token", body: `{"ids":["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"]}`},
	{status: 200, request: "DELETE /_security/oauth2/token", body: `{"owner":true,"created_before":"2026-01-01T00:00:00Z"}`, as: guest},
	{status: 403, request: "DELETE /_security/oauth2/token?confirm=true", body: `{"all":true}`, as: guest},
	{status: 400, request: "DELETE /_security/oauth2/token", body: `{"all":true}`},
	{status: 200, request: "DELETE /_security/oauth2/token?confirm=true", body: `{"all":true,"created_before":1000}`},
	{status: 200, request: "POST /_security/oauth2/token", body: `{"grant_type":"password","username":"elastic","password":"$password"}`},
	{status: 200, request: "GET /_security/oauth2/token?owner=true&active_only=true&size=2", as: "Bearer $access"},
	{status: 200, request: "GET /_security/oauth2/token?username=guest&realm_name=default_native"},
	{status: 200, request: "GET /_security/oauth2/token?owner", as: guest},
	{status: 403, request: "GET /_security/oauth2/token", as: guest},
	{status: 400, request: "GET /_security/oauth2/token?after=nowhere"},
	{status: 200, request: "DELETE /_security/oauth2/token", body: `{"refresh_token":"$refresh","family":true}`},
	{status: 200, request: "DELETE /_security/oauth2/token", body: `{"owner":true}`, as: guest},
	{status: 404, request: "DELETE /_security/oauth2/token", body: `{"ids":["AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB"]}`},
	{status: 200, request: "DELETE /_security/oauth2/token?confirm=true", body: `{"all":true,"created_before":1714979289000}`},
	{status: 400, request: "DELETE /_security/oauth2/token", body: `{"all":true}`},
}

var userStory = []openAPIStep{
	{status: 200, request: "PUT /_security/user/joe?refresh=wait_for", body: `{"password":"a-long-password","roles":["x"],"full_name":"Joe","email":null,"metadata":{"team":7}}`},
	{status: 200, request: "POST /_security/user/joe", body: `{"roles":"x,y","enabled":true}`},
	{status: 400, request: "PUT /_security/user/nobody", body: `{"roles":[]}`},
	{status: 400, request: "POST /_security/user/elastic", body: `{"roles":[]}`},
	{status: 200, request: "GET /_security/user?with_profile_uid=true"},
	{status: 200, request: "GET /_security/user/joe,nobody"},
	{status: 404, request: "GET /_security/user/nobody"},
	{status: 200, request: "PUT /_security/user/joe/_password", body: `{"password":"another-long-password"}`},
	{status: 200, request: "POST /_security/user/joe/_password", body: `{"password":"another-long-password"}`},
	{status: 400, request: "PUT /_security/user/nobody/_password", body: `{"password":"another-long-password"}`},
	{status: 200, request: "PUT /_security/user/_password", body: `{"password":"another-long-password"}`, as: guest},
	{status: 200, request: "POST /_security/user/_password", body: `{"password":"another-long-password"}`, as: guest},
	{status: 200, request: "PUT /_security/user/joe/_disable"},
	{status: 200, request: "POST /_security/user/joe/_disable"},
	{status: 200, request: "PUT /_security/user/joe/_enable"},
	{status: 200, request: "POST /_security/user/joe/_enable"},
	{status: 200, request: "GET /_security/user/_has_privileges", body: `{"cluster":["all"]}`, as: guest},
	{status: 200, request: "POST /_security/user/_has_privileges", body: `{"index":[{"names":["a","b"],"privileges":["read"]}],"application":[{"application":"x","privileges":["y"],"resources":["z"]}]}`},
	{status: 200, request: "GET /_security/user/guest/_has_privileges", body: `{"cluster":["manage_token"]}`, as: guest},
	{status: 200, request: "POST /_security/user/guest/_has_privileges", body: `{"cluster":["manage_token"]}`, as: guest},
	{status: 400, request: "POST /_security/user/_has_privileges", body: `{}`},
	{status: 200, request: "GET /_security/user/_privileges"},
	{status: 200, request: "POST /_security/realm/default_native/_clear_cache?usernames=joe"},
	{status: 200, request: "POST /_security/realm/nowhere/_clear_cache"},
	{status: 200, request: "DELETE /_security/user/joe?refresh=false"},
	{status: 404, request: "DELETE /_security/user/joe"},
}

var roleStory = []openAPIStep{
	{status: 200, request: "PUT /_security/role/tokens", body: `{"cluster":["manage_token"],"run_as":["joe"],"indices":[],"metadata":{"v":1},"description":"Tokens"}`},
	{status: 200, request: "POST /_security/role/tokens", body: `{}`},
	{status: 400, request: "PUT /_security/role/tokens", body: `{"cluster":["no_such_privilege"]}`},
	{status: 400, request: "PUT /_security/role/superuser", body: `{}`},
	{status: 200, request: "GET /_security/role"},
	{status: 200, request: "GET /_security/role/superuser,tokens"},
	{status: 404, request: "GET /_security/role/nothing"},
	{status: 200, request: "POST /_security/role/tokens/_clear_cache"},
	{status: 200, request: "GET /_security/privilege/_builtin"},
	{status: 200, request: "POST /_security/privilege/*/_clear_cache"},
	{status: 200, request: "POST /_security/api_key/*/_clear_cache"},
	{status: 200, request: "DELETE /_security/role/tokens"},
	{status: 404, request: "DELETE /_security/role/tokens"},
}

var oauth2Story = []openAPIStep{
	{status: 200, request: "POST /oauth2/token", body: `{"grant_type":"client_credentials","scope":"monitor","audience":"ignored"}`},
	{status: 400, request: "POST /oauth2/token", form: true, body: "grant_type=client_credentials&scope=no_such_privilege"},
	{status: 400, request: "POST /oauth2/token", form: true, body: "grant_type=password&username=guest&password=wrong-password"},
	{status: 200, request: "POST /oauth2/token", form: true, body: "grant_type=password&username=guest&password=another-long-password"},
	{status: 200, request: "POST /oauth2/introspect", form: true, body: "token=$access"},
	{status: 200, request: "POST /oauth2/introspect", body: `{"token":"$refresh"}`},
	{status: 200, request: "POST /oauth2/introspect", form: true, body: "token=$access&client_id=guest&client_secret=another-long-password", as: "nobody"},
	{status: 200, request: "POST /oauth2/introspect", form: true, body: "token=unknown"},
	{status: 200, request: "POST /oauth2/token", form: true, body: "grant_type=refresh_token&refresh_token=$refresh"},
	{status: 400, request: "POST /oauth2/token", form: true, body: "grant_type=refresh_token&refresh_token=unknown"},
	{status: 400, request: "POST /oauth2/token", form: true, body: "grant_type=implicit"},
	{status: 200, request: "POST /oauth2/revoke", form: true, body: "token=$access&token_type_hint=access_token"},
	{status: 200, request: "POST /oauth2/revoke", body: `{"token":"$refresh"}`},
	{status: 200, request: "POST /oauth2/revoke", form: true, body: "token=unknown"},
	{status: 400, request: "POST /oauth2/revoke", form: true, body: "token="},
	{status: 200, request: "GET /.well-known/oauth-authorization-server", as: "nobody"},
	{status: 200, request: "HEAD /.well-known/oauth-authorization-server", as: "nobody"},
	{status: 200, request: "GET /.well-known/openid-configuration", as: "nobody"},
	{status: 200, request: "HEAD /.well-known/openid-configuration", as: "nobody"},
}

// withoutIssuer is what is answered where the setting oauth2.issuer is not set.
var withoutIssuer = []openAPIStep{
	{status: 404, request: "GET /.well-known/oauth-authorization-server", as: "nobody"},
	{status: 404, request: "HEAD /.well-known/oauth-authorization-server", as: "nobody"},
	{status: 404, request: "GET /.well-known/openid-configuration", as: "nobody"},
	{status: 404, request: "HEAD /.well-known/openid-configuration", as: "nobody"},
}

// gatewayStory asks in every method.
func gatewayStory() (steps []openAPIStep) {
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"} {
		steps = append(steps,
			openAPIStep{status: 200, request: method + " /_forward_auth?role=superuser&privilege=manage_token"},
			openAPIStep{status: 200, request: method + " /_forward_auth/admin", as: guest},
			openAPIStep{status: 403, request: method + " /_forward_auth?role=superuser", as: guest},
		)
	}
	return steps
}

var clusterStory = []openAPIStep{
	{status: 200, request: "GET /"},
	{status: 200, request: "HEAD /"},
	{status: 200, request: "GET /_cluster/health?wait_for_status=yellow&timeout=30s&level=cluster"},
	{status: 400, request: "GET /_cluster/health?wait_for_status=blue"},
	{status: 200, request: "GET /_nodes"},
	{status: 200, request: "GET /_nodes/http?human"},
	{status: 200, request: "GET /_nodes/_all/http?timeout=1s"},
	{status: 400, request: "GET /_nodes?timeout=soon"},
	{status: 200, request: "GET /_cat"},
	{status: 200, request: "GET /_cat/health?v"},
	{status: 200, request: "GET /_cat/master?help"},
	{status: 200, request: "GET /_cat/nodes?h=name,master&s=name:desc&format=json"},
	{status: 200, request: "GET /_license"},
	{status: 200, request: "GET /_xpack/license"},
	{status: 200, request: "GET /_xpack?categories=features,build"},
	{status: 200, request: "GET /livez", as: "nobody"},
	{status: 200, request: "HEAD /livez", as: "nobody"},
	{status: 200, request: "GET /readyz", as: "nobody"},
	{status: 200, request: "HEAD /readyz", as: "nobody"},
}
