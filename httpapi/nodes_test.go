package httpapi_test

import (
	"net/http"
	"testing"
	"time"

	"jeton/httpapi"
)

// three are the members of a cluster, of which the second leads and the third has no vote.
func three() httpapi.Health {
	return httpapi.Health{Members: 4, Answering: 3, Leader: true, Nodes: []httpapi.Member{
		{ID: "aaaa-1", Name: "a", TransportAddress: "10.0.0.1:9300", HTTPAddress: "a.example.org:9200", Version: "v1", Voter: true, Self: true},
		{ID: "bbbb-2", Name: "b", TransportAddress: "10.0.0.2:9300", HTTPAddress: "10.0.0.2:9200", Version: "v2", Voter: true, Leader: true},
		{ID: "cccc-3", Name: "cc", TransportAddress: "[::1]:9300", HTTPAddress: "[::1]:9201", Version: "v1"},
	}}
}

func nodeJSON(id, name, host, port, version, roles, rest string) string {
	address := host + ":" + port
	if host == "::1" {
		address = "[::1]:" + port
	}
	return `"` + id + `":{"name":"` + name + `","transport_address":"` + address + `","host":"` + host + `","ip":"` + host +
		`","version":"8.19.0","build_flavor":"default","build_type":"tar","build_hash":"` + version + `","roles":[` + roles +
		`],"attributes":{}` + rest + `}`
}

func httpJSON(address, limit string) string {
	return `,"http":{"bound_address":["` + address + `"],"publish_address":"` + address + `"` + limit + `}`
}

func transportJSON(address string) string {
	return `,"transport":{"bound_address":["` + address + `"],"publish_address":"` + address + `","profiles":{}}`
}

func TestNodes(t *testing.T) {
	w := world{health: three}
	answer := func(counts, nodes string) string {
		return `{"_nodes":{` + counts + `},"cluster_name":"jeton","nodes":{` + nodes + `}}`
	}
	const voter, nonvoter, limit = `"data","master"`, `"data"`, `,"max_content_length_in_bytes":65536`
	a := nodeJSON("aaaa-1", "a", "10.0.0.1", "9300", "v1", voter, httpJSON("a.example.org:9200", limit))
	b := nodeJSON("bbbb-2", "b", "10.0.0.2", "9300", "v2", voter, httpJSON("10.0.0.2:9200", ""))
	c := nodeJSON("cccc-3", "cc", "::1", "9300", "v1", nonvoter, httpJSON("[::1]:9201", ""))
	all := answer(`"total":4,"successful":3,"failed":1`, a+","+b+","+c)
	one := `"total":1,"successful":1,"failed":0`
	whole := nodeJSON("bbbb-2", "b", "10.0.0.2", "9300", "v2", voter, transportJSON("10.0.0.2:9300")+httpJSON("10.0.0.2:9200", ""))
	check(t, []call{
		{name: "as Go's clients sniff", world: w, request: "GET /_nodes/http", status: 200, want: all},
		{name: "as JavaScript's clients sniff", world: w, request: "GET /_nodes/_all/http", status: 200, want: all},
		{name: "as olivere sniffs", world: w, request: "GET /_nodes/http?filter_path=nodes.*.http.publish_address", status: 200, want: `{"nodes":{` +
			`"aaaa-1":{"http":{"publish_address":"a.example.org:9200"}},"bbbb-2":{"http":{"publish_address":"10.0.0.2:9200"}},` +
			`"cccc-3":{"http":{"publish_address":"[::1]:9201"}}}}`},
		{world: w, request: "GET /_nodes/_local/http", status: 200, want: answer(one, a)},
		{world: w, request: "GET /_nodes/_master", status: 200, want: answer(one, whole)},
		{world: w, request: "GET /_nodes/bbbb-2/_all", status: 200, want: answer(one, whole)},
		{world: w, request: "GET /_nodes/b", status: 200, want: answer(one, whole)},
		{world: w, request: "GET /_nodes/10.0.0.2/http", status: 200, want: answer(one, b)},
		{world: w, request: "GET /_nodes/c*/http,os", status: 200, want: answer(one, c)},
		{world: w, request: "GET /_nodes/b,cc/http", status: 200, want: answer(`"total":2,"successful":2,"failed":0`, b+","+c)},
		{world: w, request: "GET /_nodes/master:false/http", status: 200, want: answer(one, c)},
		{world: w, request: "GET /_nodes/d", status: 200, want: answer(`"total":0,"successful":0,"failed":0`, "")},
		{world: w, request: "GET /_nodes/b/os", status: 200, want: answer(one, nodeJSON("bbbb-2", "b", "10.0.0.2", "9300", "v2", voter, ""))},
		{
			world: w, request: "GET /_nodes/a/http?human", status: 200, want: answer(one,
				nodeJSON("aaaa-1", "a", "10.0.0.1", "9300", "v1", voter, httpJSON("a.example.org:9200", `,"max_content_length":"64kb"`+limit))),
		},
		{world: w, request: "GET /_nodes?filter_path=_nodes.total,nodes.*.name", status: 200, want: `{"_nodes":{"total":4},"nodes":{` +
			`"aaaa-1":{"name":"a"},"bbbb-2":{"name":"b"},"cccc-3":{"name":"cc"}}}`},
		{name: "no privilege", world: world{authorize: forbid}, request: "GET /_nodes", status: 403, want: exception("security_exception",
			"action [cluster:monitor/nodes/info] is unauthorized for user [joe] with effective roles [r], this action is granted by "+
				"the cluster privileges [manage_token,manage_security,all]", "403")},
		{
			request: "GET /_nodes?timeout=x", status: 400, want: exception("illegal_argument_exception",
				"failed to parse setting [timeout] with value [x] as a time value: unit is missing or unrecognized", "400"),
		},
	})
}

func TestCat(t *testing.T) {
	w := world{health: three}
	text := map[string]string{"Content-Type": "text/plain; charset=UTF-8"}
	vendor := "application/vnd.elasticsearch+json;compatible-with=8"
	nodes := `[{"name":"cc","m":"-"},{"name":"b","m":"*"},{"name":"a","m":"-"}]`
	accept := func(value string) http.Header { return http.Header{"Accept": {value}} }
	check(t, []call{
		{request: "GET /_cat", status: 200, want: "=^.^=\n/_cat/health\n/_cat/master\n/_cat/nodes\n", headers: text},
		{world: w, request: "GET /_cat/nodes", status: 200, headers: text, want: "10.0.0.1       dm - a\n10.0.0.2       dm * b\n::1            d  - cc\n"},
		{
			world: w, request: "GET /_cat/nodes?v&h=name,nodeId,http*,port,po,nothing&s=n:desc", status: 200, headers: text,
			want: "name nodeId http_address       port po\n" +
				"cc   cccc   [::1]:9201         9300 9300\n" +
				"b    bbbb   10.0.0.2:9200      9300 9300\n" +
				"a    aaaa   a.example.org:9200 9300 9300\n",
		},
		{world: w, request: "GET /_cat/nodes?h=id&full_id&s=role,name:asc", status: 200, headers: text, want: "cccc-3\naaaa-1\nbbbb-2\n"},
		{world: w, request: "GET /_cat/nodes?h=name,m&s=name:desc&format=json", status: 200, want: nodes},
		{world: w, request: "GET /_cat/nodes?h=name,m&s=name:desc", header: accept("application/json"), status: 200, want: nodes},
		{
			world: w, request: "GET /_cat/nodes?h=name,m&s=name:desc", header: accept(vendor), status: 200, want: nodes,
			headers: map[string]string{"Content-Type": vendor},
		},
		{
			name: "as JavaScript's client asks", world: w, request: "GET /_cat/nodes?h=name", status: 200, want: "a\nb\ncc\n", headers: text,
			header: accept("application/vnd.elasticsearch+json; compatible-with=8,text/plain"),
		},
		{world: w, request: "GET /_cat/nodes?h=name&format=text", header: accept("application/json"), status: 200, want: "a\nb\ncc\n", headers: text},
		{
			world: w, request: "GET /_cat/nodes?h=name,cpu&format=yaml", status: 200, headers: map[string]string{"Content-Type": "application/yaml"},
			want: "---\n- name: \"a\"\n  cpu: null\n- name: \"b\"\n  cpu: null\n- name: \"cc\"\n  cpu: null\n",
		},
		{
			request: "GET /_cat/nodes?s=nothing", status: 400,
			want: exception("illegal_argument_exception", "Unable to sort by unknown sort key `nothing`", "400"),
		},
		{world: w, request: "GET /_cat/master?v", status: 200, headers: text, want: "id     host     ip       node\nbbbb-2 10.0.0.2 10.0.0.2 b\n"},
		{name: "nobody leads", request: "GET /_cat/master", status: 200, headers: text, want: "- - - -\n"},
		{
			request: "GET /_cat/master?help", status: 200, headers: text,
			want: "id   |   | node id    \nhost | h | host name  \nip   |   | ip address \nnode | n | node name  \n",
		},
		{world: w, request: "GET /_cat/master?help=maybe", status: 400, want: exception("illegal_argument_exception",
			"Failed to parse value [maybe] as only [true] or [false] are allowed.", "400")},
	})
}

func TestCatHealth(t *testing.T) {
	c := config(&world{health: three})
	c.Now = func() time.Time { return time.Date(2026, 3, 4, 5, 6, 7, 0, time.FixedZone("", 3600)) }
	h := handlerOf(t, c)
	for request, want := range map[string]string{
		"GET /_cat/health": "1772597167 04:06:07 jeton yellow 3 3 0 0 0 0 0 0 0 - 100.0%\n",
		"GET /_cat/health?v": "epoch      timestamp cluster status node.total node.data shards pri relo init unassign unassign.pri pending_tasks max_task_wait_time active_shards_percent\n" +
			"1772597167 04:06:07  jeton   yellow          3         3      0   0    0    0        0            0             0                  -                100.0%\n",
		"GET /_cat/health?ts=false&h=*":                "1772597167 04:06:07 jeton yellow 3 3 0 0 0 0 0 0 0 - 100.0%\n",
		"GET /_cat/health?ts=false":                    "jeton yellow 3 3 0 0 0 0 0 0 0 - 100.0%\n",
		"GET /_cat/health?h=st,nt&format=json":         `[{"st":"yellow","nt":"3"}]`,
		"GET /_cat/health?h=status&format=json&pretty": "[\n  {\n    \"status\" : \"yellow\"\n  }\n]\n",
	} {
		if answer := serve(h, &call{request: request}); answer.Code != 200 || answer.Body.String() != want {
			t.Errorf("%s: status %d\n%q, want\n%q", request, answer.Code, answer.Body, want)
		}
	}
}

func TestLicense(t *testing.T) {
	license := `{"license":{"status":"active","uid":"01000000-0000-0000-0000-000000000000","type":"basic","issue_date":"1970-01-01T00:00:00.000Z",` +
		`"issue_date_in_millis":0,"max_nodes":1000,"max_resource_units":null,"issued_to":"jeton","issuer":"elasticsearch","start_date_in_millis":-1}}`
	features := `"features":{"security":{"available":true,"enabled":true}}`
	check(t, []call{
		{request: "GET /_license", status: 200, want: license},
		{
			request: "GET /_xpack/license?local=true", status: 200, want: license,
			headers: map[string]string{"Warning": `299 Elasticsearch-8.19.0-unknown "[GET /_xpack/license] is deprecated! Use [GET /_license] instead."`},
		},
		{request: "GET /_license?human=false&filter_path=license.*date*", status: 200, want: `{"license":{"issue_date_in_millis":0,"start_date_in_millis":-1}}`},
		{request: "GET /_xpack", status: 200, want: `{"build":{"hash":"test","date":"unknown"},"license":{"uid":"01000000-0000-0000-0000-000000000000",` +
			`"type":"basic","mode":"basic","status":"active"},` + features + `,"tagline":"You know, for X"}`},
		{request: "GET /_xpack?categories=features&human=false", status: 200, want: `{` + features + `}`},
		{request: "GET /_xpack?categories=_none&accept_enterprise=true", status: 200, want: `{}`},
		{request: "GET /_xpack?categories=x", status: 400, want: exception("illegal_argument_exception", "unknown xpack info category [x]", "400")},
	})
}
