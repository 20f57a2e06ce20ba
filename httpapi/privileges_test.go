package httpapi_test

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"jeton/fsm"
	"jeton/node/realm"
)

// keeper are the grants of somebody who reads logs and keeps an application's data.
func keeper(*fsm.Identity) realm.Grants {
	return realm.Grants{
		Cluster: []string{"manage_token", "monitor"}, RunAs: []string{"joe"},
		Indices: []realm.IndexGrant{
			{Names: []string{"logs-*"}, Privileges: []string{"read"}},
			{Names: []string{"x"}, Privileges: []string{"all"}, Restricted: true, FieldSecurity: json.RawMessage(`{"grant": ["f"]}`), Query: `{"match_all":{}}`},
		},
		Applications: []realm.ApplicationGrant{{Application: "app", Privileges: []string{"read*"}, Resources: []string{"r/*"}}},
	}
}

func TestHasPrivileges(t *testing.T) {
	w := world{grants: keeper}
	all := `{"cluster":["monitor","manage","monitor"],"index":[{"names":["logs-1","y"],"privileges":["read","write"]},` +
		`{"names":"logs-1","privileges":["monitor"],"allow_restricted_indices":false}],` +
		`"application":[{"application":"app","privileges":["read","write"],"resources":["r/1","*"]},` +
		`{"application":"b","privileges":["x"],"resources":["r"]}]}`
	want := `{"username":"elastic","has_all_requested":false,"cluster":{"monitor":true,"manage":false},` +
		`"index":{"logs-1":{"read":true,"write":false,"monitor":false},"y":{"read":false,"write":false}},` +
		`"application":{"app":{"r/1":{"read":true,"write":false},"*":{"read":false,"write":false}},"b":{"r":{"x":false}}}}`
	yes := `{"username":"elastic","has_all_requested":true,"cluster":{"monitor":true},"index":{},"application":{}}`
	check(t, []call{
		{world: w, request: "POST /_security/user/_has_privileges", body: all, status: 200, want: want},
		{world: w, request: "GET /_security/user/elastic/_has_privileges", body: `{"cluster":["monitor"]}`, status: 200, want: yes},
		{world: w, request: "POST /_xpack/security/user/_has_privileges", body: `{"cluster":["monitor"],"applications":[]}`, status: 200, want: yes},
		{
			name: "of somebody else", request: "GET /_security/user/joe/_has_privileges", body: `{"cluster":["monitor"]}`, status: 400,
			want: exception("illegal_argument_exception", "users may only check the privileges of their own account", "400"),
		},
		{
			name: "of somebody else, without the right", world: world{authorize: forbid}, request: "GET /_security/user/joe/_has_privileges",
			body: `{"cluster":["monitor"]}`, status: 403, want: exception("security_exception",
				"action [cluster:admin/xpack/security/user/has_privileges] is unauthorized for user [joe] with effective roles [r], "+
					"this action is granted by the cluster privileges [manage_token,manage_security,all]", "403"),
		},
		{
			name: "one's own needs no right", world: world{authorize: forbid, grants: keeper}, request: "GET /_security/user/_has_privileges",
			body: `{"cluster":["monitor"]}`, status: 200, want: yes,
		},
	})
}

func TestHasPrivilegesErrors(t *testing.T) {
	many := `{"cluster":[` + strings.TrimSuffix(strings.Repeat(`"none",`, 4097), ",") + `]}`
	for _, c := range []struct{ body, kind, reason string }{
		{"", "parse_exception", "request body is required"},
		{`[]`, "parse_exception", "failed to parse privileges check [elastic]. expected an object but found [START_ARRAY] instead"},
		{`{}`, "parse_exception", "failed to parse privileges check [elastic]. All privilege fields [cluster,index,applications] are missing"},
		{`{"x":1}`, "parse_exception", "failed to parse privileges check [elastic]. unexpected field [x]"},
		{`{"cluster":[]}`, "action_request_validation_exception", "Validation Failed: 1: must specify at least one privilege;"},
		{many, "illegal_argument_exception", "the request asks for too many privileges at once"},
		{`{"index":{}}`, "parse_exception", "failed to parse indices privileges for role [elastic]. expected field [index] value to be an array, but found [START_OBJECT] instead"},
		{`{"index":[1]}`, "parse_exception", "failed to parse indices privileges for role [elastic]. expected field [index] value to be an array of objects, but found an array element of type [VALUE_NUMBER]"},
		{`{"index":[{"names":["a"]}]}`, "parse_exception", "failed to parse indices privileges for role [elastic]. missing required [privileges] field"},
		{`{"index":[{"privileges":["read"]}]}`, "parse_exception", "failed to parse indices privileges for role [elastic]. missing required [names] field"},
		{`{"index":[{"query":{}}]}`, "parse_exception", "Field [query] is not supported in a has_privileges request"},
		{`{"index":[{"y":1}]}`, "parse_exception", "failed to parse indices privileges for role [elastic]. unexpected field [y]"},
		{`{"application":[{"y":1}]}`, "parse_exception", "failed to parse application privileges for role [elastic]. unexpected field [y]"},
		{`{"application":[{"privileges":["a"],"resources":[]}]}`, "parse_exception", "failed to parse application privileges for role [elastic]. missing required [application] field"},
		{`{"application":[{"application":"a","privileges":["a"]}]}`, "parse_exception", "failed to parse application privileges for role [elastic]. missing required [resources] field"},
	} {
		check(t, []call{{
			name: c.body[:min(40, len(c.body))], request: "POST /_security/user/_has_privileges", body: c.body,
			status: 400, want: exception(c.kind, c.reason, "400"),
		}})
	}
	for name, body := range map[string]string{
		"unknown cluster privilege [x].": `{"cluster":["x"]}`,
		"unknown index privilege [x].":   `{"index":[{"names":["a"],"privileges":["x"]}]}`,
	} {
		answer := serve(handlerOf(t, config(&world{})), &call{request: "POST /_security/user/_has_privileges", body: body})
		if answer.Code != 400 || !strings.Contains(answer.Body.String(), `"illegal_argument_exception","reason":"`+name) {
			t.Errorf("%s: %d %s", body, answer.Code, answer.Body)
		}
	}
}

func TestGetPrivileges(t *testing.T) {
	check(t, []call{
		{
			world: world{grants: keeper, authorize: forbid}, request: "GET /_security/user/_privileges", status: 200,
			want: `{"cluster":["manage_token","monitor"],"global":[],"indices":[{"names":["logs-*"],"privileges":["read"],"allow_restricted_indices":false},` +
				`{"names":["x"],"privileges":["all"],"field_security":[{"grant":["f"]}],"query":["{\"match_all\":{}}"],"allow_restricted_indices":true}],` +
				`"applications":[{"application":"app","privileges":["read*"],"resources":["r/*"]}],"run_as":["joe"]}`,
		},
		{request: "GET /_xpack/security/user/_privileges", status: 200, want: `{"cluster":[],"global":[],"indices":[],"applications":[],"run_as":[]}`},
	})
}

func TestBuiltinPrivileges(t *testing.T) {
	cluster, index := realm.BuiltinPrivileges()
	quoted := func(list []string) string {
		for i := range list {
			list[i] = strconv.Quote(list[i])
		}
		return strings.Join(list, ",")
	}
	check(t, []call{
		{
			request: "GET /_security/privilege/_builtin", status: 200,
			want: `{"cluster":[` + quoted(cluster) + `],"index":[` + quoted(index) + `],"remote_cluster":["monitor_enrich","monitor_stats"]}`,
		},
		{
			name: "no privilege", world: world{authorize: forbid}, request: "GET /_security/privilege/_builtin", status: 403,
			want: exception("security_exception", "action [cluster:admin/xpack/security/privilege/builtin/get] is unauthorized for user [joe] "+
				"with effective roles [r], this action is granted by the cluster privileges [manage_token,manage_security,all]", "403"),
		},
	})
}
