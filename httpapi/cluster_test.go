package httpapi_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"jeton/httpapi"
)

const mainCompact = `{"name":"node-1","cluster_name":"jeton","cluster_uuid":"AQAAAAAAAAAAAAAAAAAAAA","version":{"number":"8.19.0",` +
	`"build_flavor":"default","build_type":"tar","build_hash":"test","build_date":"unknown","build_snapshot":false,` +
	`"lucene_version":"9.12.2","minimum_wire_compatibility_version":"7.17.0","minimum_index_compatibility_version":"7.0.0"},` +
	`"tagline":"You Know, for Search"}`

const mainPretty = `{
  "name" : "node-1",
  "cluster_name" : "jeton",
  "cluster_uuid" : "AQAAAAAAAAAAAAAAAAAAAA",
  "version" : {
    "number" : "8.19.0",
    "build_flavor" : "default",
    "build_type" : "tar",
    "build_hash" : "test",
    "build_date" : "unknown",
    "build_snapshot" : false,
    "lucene_version" : "9.12.2",
    "minimum_wire_compatibility_version" : "7.17.0",
    "minimum_index_compatibility_version" : "7.0.0"
  },
  "tagline" : "You Know, for Search"
}
`

func TestRoot(t *testing.T) {
	check(t, []call{
		{request: "GET /", status: 200, want: mainPretty},
		{request: "GET /?pretty=false", status: 200, want: mainCompact},
		{request: "HEAD /", status: 200, want: ""},
		{
			request: "GET /", header: authorization(), status: 401, headers: challenge,
			want: unauthorized("missing authentication credentials for REST request [/]", ""),
			name: "no credentials",
		},
	})
}

func healthJSON(status, timedOut, nodes string) string {
	return `{"cluster_name":"jeton","status":"` + status + `","timed_out":` + timedOut + `,"number_of_nodes":` + nodes +
		`,"number_of_data_nodes":` + nodes + `,"active_primary_shards":0,"active_shards":0,"relocating_shards":0,"initializing_shards":0,` +
		`"unassigned_shards":0,"unassigned_primary_shards":0,"delayed_unassigned_shards":0,"number_of_pending_tasks":0,` +
		`"number_of_in_flight_fetch":0,"task_max_waiting_in_queue_millis":0,"active_shards_percent_as_number":100.0}`
}

func TestHealth(t *testing.T) {
	health := func(answering int, leader bool) world {
		return world{health: func() httpapi.Health { return httpapi.Health{Members: 3, Answering: answering, Leader: leader} }}
	}
	bad := func(reason string) string { return exception("illegal_argument_exception", reason, "400") }
	check(t, []call{
		{request: "GET /_cluster/health", status: 200, want: healthJSON("green", "false", "3")},
		{name: "bearer token", request: "GET /_cluster/health", header: authorization("Bearer tok"), status: 200, want: healthJSON("green", "false", "3")},
		{name: "member missing", world: health(2, true), request: "GET /_cluster/health", status: 200, want: healthJSON("yellow", "false", "2")},
		{name: "no leader", world: health(1, false), request: "GET /_cluster/health", status: 200, want: healthJSON("red", "false", "1")},
		{world: health(2, true), request: "GET /_cluster/health?wait_for_status=yellow&timeout=50s&level=cluster", status: 200, want: healthJSON("yellow", "false", "2")},
		{world: health(2, true), request: "GET /_cluster/health?wait_for_status=green&timeout=0", status: 408, want: healthJSON("yellow", "true", "2")},
		{
			world: health(2, true), request: "GET /_cluster/health?wait_for_status=green&timeout=1ms&return_200_for_cluster_health_timeout",
			status: 200, want: healthJSON("yellow", "true", "2"),
		},
		{world: health(2, true), request: "GET /_cluster/health?wait_for_nodes=2&timeout=0", status: 200, want: healthJSON("yellow", "false", "2")},
		{world: health(2, true), request: "GET /_cluster/health?wait_for_nodes=>=2&timeout=0", status: 200, want: healthJSON("yellow", "false", "2")},
		{world: health(2, true), request: "GET /_cluster/health?wait_for_nodes=gt(2)&timeout=0", status: 408, want: healthJSON("yellow", "true", "2")},
		{world: health(2, true), request: "GET /_cluster/health?wait_for_nodes=<2&timeout=0", status: 408, want: healthJSON("yellow", "true", "2")},
		{request: "GET /_cluster/health?wait_for_nodes=many", status: 400, want: bad("failed to parse [wait_for_nodes] with value [many]")},
		{
			request: "GET /_cluster/health?human&filter_path=task*,*percent", status: 200,
			want: `{"task_max_waiting_in_queue":"0s","task_max_waiting_in_queue_millis":0,"active_shards_percent":"100.0%"}`,
		},
		{request: "GET /_cluster/health?wait_for_status=blue", status: 400, want: bad("unknown cluster health status [blue]")},
		{
			request: "GET /_cluster/health?timeout=5", status: 400,
			want: bad("failed to parse setting [timeout] with value [5] as a time value: unit is missing or unrecognized"),
		},
		{
			name: "no privilege", world: world{authorize: forbid}, request: "GET /_cluster/health", status: 403,
			want: exception("security_exception", "action [cluster:monitor/health] is unauthorized for user [joe] "+
				"with effective roles [r], this action is granted by the cluster privileges [manage_token,manage_security,all]", "403"),
		},
	})
}

func TestHealthWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		w := &world{health: func() httpapi.Health {
			return httpapi.Health{Members: 3, Answering: 3, Leader: time.Since(start) >= 5*time.Second}
		}}
		answer := serve(handlerOf(t, config(w)), &call{request: "GET /_cluster/health?wait_for_status=green&timeout=10s"})
		if waited := time.Since(start); answer.Code != 200 || waited < 5*time.Second || waited > 6*time.Second {
			t.Errorf("status %d after %v", answer.Code, waited)
		}
	})
}

func TestLiveAndReady(t *testing.T) {
	none := authorization()
	check(t, []call{
		{request: "GET /livez", header: none, status: 200, want: `{"live":true}`},
		{request: "HEAD /livez", header: none, status: 200, want: ""},
		{request: "GET /readyz", header: none, status: 200, want: `{"ready":true}`},
		{
			name: "not ready", world: world{notReady: []string{"no leader", "stopping"}}, request: "GET /readyz", header: none,
			status: 503, want: `{"ready":false,"reasons":["no leader","stopping"]}`, headers: map[string]string{"Retry-After": "1"},
		},
	})
}

func TestRequestEndsWithItsTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := config(&world{})
		c.Authenticator = patient{}
		start := time.Now()
		for _, request := range []string{"GET /_security/_authenticate", "DELETE /_security/user/joe"} {
			answer := serve(handlerOf(t, c), &call{request: request})
			if answer.Code != http.StatusServiceUnavailable || answer.Header().Get("Retry-After") != "1" {
				t.Errorf("%s: status %d, headers %v", request, answer.Code, answer.Header())
			}
		}
		if waited := time.Since(start); waited != 60*time.Second {
			t.Errorf("waited %v for both, want 30 s each", waited)
		}
	})
}

func TestTimeoutEndsWithTheClient(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := httptest.NewRequest("GET", "/_security/_authenticate", nil).WithContext(ctx)
	r.Header.Set("Authorization", basic)
	answer := httptest.NewRecorder()
	handlerOf(t, config(&world{})).ServeHTTP(answer, r)
	if answer.Code != http.StatusServiceUnavailable {
		t.Errorf("status %d", answer.Code)
	}
}
