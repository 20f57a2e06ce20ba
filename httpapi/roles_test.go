package httpapi_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"jeton/fsm"
	"jeton/node/realm"
)

func TestPutRole(t *testing.T) {
	var got fsm.Role
	w := world{putRole: func(r fsm.Role) (bool, error) {
		got = r
		return r.Name == "new", nil
	}}
	body := `{"cluster":["manage_token"],"run_as":["u"],"index":[ {"names":["*"]} ],"metadata":{"v" : 1},"transient_metadata":{"enabled":false},"description":"d"}`
	check(t, []call{{world: w, request: "PUT /_security/role/new", body: body, status: 200, want: `{"role":{"created":true}}`}})
	want := fsm.Role{
		Name: "new", Cluster: []string{"manage_token"}, RunAs: []string{"u"},
		Rest: []byte(`{"indices":[{"names":["*"]}],"metadata":{"v":1},"description":"d"}`),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("passed on (-want +got):\n%s", diff)
	}
	problem := &realm.ValidationError{Type: "action_request_validation_exception", Messages: []string{"unknown cluster privilege [x]"}}
	check(t, []call{
		{world: w, request: "POST /_xpack/security/role/old?refresh=false", body: `{}`, status: 200, want: `{"role":{"created":false}}`},
		{
			request: "PUT /_security/role/r", body: `{"x":1}`, status: 400,
			want: exception("parse_exception", "failed to parse role [r]. unexpected field [x]", "400"),
		},
		{
			request: "PUT /_security/role/r", body: `{"description":{}}`, status: 400,
			want: exception("parse_exception", "failed to parse role [r]. expected field [description] to be [VALUE_STRING], but found [START_OBJECT] instead", "400"),
		},
		{
			request: "PUT /_security/role/r", body: `{"indices":{}}`, status: 400,
			want: exception("parse_exception", "failed to parse role [r]. expected field [indices] to be [START_ARRAY], but found [START_OBJECT] instead", "400"),
		},
		{
			request: "PUT /_security/role/r", body: `{"cluster":"all"}`, status: 400,
			want: exception("parse_exception", "could not parse [cluster] field. expected a string array but found [VALUE_STRING] value instead", "400"),
		},
		{
			request: "PUT /_security/role/r", body: `{"index":[],"indices":[]}`, status: 400,
			want: exception("x_content_parse_exception", "[1:13] Duplicate field 'indices'", "400"),
		},
		{
			world:   world{putRole: func(fsm.Role) (bool, error) { return false, problem }},
			request: "PUT /_security/role/r", body: `{}`, status: 400, want: exception(problem.Type, problem.Error(), "400"),
		},
	})
}

func TestGetRoles(t *testing.T) {
	w := world{roles: []fsm.Role{
		{Name: "r", Cluster: []string{"all"}, RunAs: []string{"*"}, Rest: []byte(`{"description":"d","metadata":{"a":1},"global":{}}`)},
		{Name: "s"},
	}}
	r := `"r":{"cluster":["all"],"global":{},"indices":[],"applications":[],"run_as":["*"],"metadata":{"a":1},"transient_metadata":{"enabled":true},"description":"d"}`
	s := `"s":{"cluster":[],"indices":[],"applications":[],"run_as":[],"metadata":{},"transient_metadata":{"enabled":true}}`
	check(t, []call{
		{world: w, request: "GET /_security/role", status: 200, want: `{` + r + `,` + s + `}`},
		{world: w, request: "GET /_xpack/security/role/s,t", status: 200, want: `{` + s + `}`},
		{world: w, request: "GET /_security/role/t", status: 404, want: `{}`},
	})
}

func TestDeleteRole(t *testing.T) {
	check(t, []call{
		{request: "DELETE /_security/role/r", status: 200, want: `{"found":true}`},
		{
			world:   world{deleteRole: func(fsm.RoleName) (bool, error) { return false, nil }},
			request: "DELETE /_security/role/r", status: 404, want: `{"found":false}`,
		},
	})
}
