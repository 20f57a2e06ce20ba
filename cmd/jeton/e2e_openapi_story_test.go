package main

import "slices"

// openAPISettings are those of the cluster that the description is compared with:
// short deadlines, so that outages are soon answered.
const openAPISettings = `
request.timeout: 2s
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
	return slices.Concat(tokenStory, userStory, roleStory, clusterStory)
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
	{status: 200, request: "DELETE /_security/role/tokens"},
	{status: 404, request: "DELETE /_security/role/tokens"},
}

var clusterStory = []openAPIStep{
	{status: 200, request: "GET /"},
	{status: 200, request: "HEAD /"},
	{status: 200, request: "GET /_cluster/health?wait_for_status=yellow&timeout=30s&level=cluster"},
	{status: 400, request: "GET /_cluster/health?wait_for_status=blue"},
	{status: 200, request: "GET /livez", as: "nobody"},
	{status: 200, request: "HEAD /livez", as: "nobody"},
	{status: 200, request: "GET /readyz", as: "nobody"},
	{status: 200, request: "HEAD /readyz", as: "nobody"},
}
