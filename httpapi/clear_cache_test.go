package httpapi_test

import "testing"

func TestClearCache(t *testing.T) {
	forgotten := 0
	w := world{forget: func() { forgotten++ }}
	done := `{"_nodes":{"total":1,"successful":1,"failed":0},"cluster_name":"jeton","nodes":{"id-1":{"name":"node-1"}}}`
	failed := `{"_nodes":{"total":1,"successful":0,"failed":1,"failures":[{"type":"failed_node_exception","reason":"Failed node [id-1]","node_id":"id-1",` +
		`"caused_by":{"type":"illegal_argument_exception","reason":"could not find active realm [ldap1]"}}]},"cluster_name":"jeton","nodes":{}}`
	check(t, []call{
		{world: w, request: "POST /_security/realm/_all/_clear_cache", status: 200, want: done},
		{world: w, request: "POST /_security/realm/*/_clear_cache?usernames=joe,jim", status: 200, want: done},
		{world: w, request: "POST /_xpack/security/realm/default_native,reserved,default_file/_clear_cache", status: 200, want: done},
	})
	if forgotten != 3 {
		t.Errorf("%d times of 3 was the cache emptied", forgotten)
	}
	check(t, []call{
		{world: w, request: "POST /_security/realm/default_native,ldap1/_clear_cache", status: 200, want: failed},
		{world: w, request: "POST /_security/role/r,s/_clear_cache", status: 200, want: done},
		{world: w, request: "POST /_xpack/security/role/r/_clear_cache", status: 200, want: done},
		{world: w, request: "POST /_security/privilege/app/_clear_cache", status: 200, want: done},
		{world: w, request: "POST /_security/api_key/*/_clear_cache", status: 200, want: done},
		{
			world: world{authorize: forbid, forget: w.forget}, request: "POST /_security/realm/_all/_clear_cache", status: 403,
			want: exception("security_exception", "action [cluster:admin/xpack/security/realm/cache/clear] is unauthorized for user [joe] "+
				"with effective roles [r], this action is granted by the cluster privileges [manage_token,manage_security,all]", "403"),
		},
	})
	if forgotten != 3 {
		t.Error("the cache was emptied although that was refused")
	}
}
