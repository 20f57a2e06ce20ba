package realm

import "strings"

// restrictedPrefix is what the names of Elasticsearch's own indices begin with.
const restrictedPrefix = ".security"

// indexPrivileges are Elasticsearch's. There are no indices here: their patterns tell
// which privilege has another, for applications that ask for a user's.
var indexPrivileges = [...]privilege{
	{name: "all", grants: []string{"indices:*", "internal:transport/proxy/indices:*"}},
	{name: "auto_configure", grants: []string{"indices:admin/auto_create", "indices:admin/mapping/auto_put", "indices:admin/data_stream/lazy_rollover"}},
	{name: "create", grants: []string{"indices:data/write/index*", "indices:data/write/bulk*", "indices:data/write/simulate/bulk*"}},
	{name: "create_doc", grants: []string{
		"indices:data/write/index", "indices:data/write/index[*", "indices:data/write/index:op_type/create",
		"indices:data/write/bulk*", "indices:data/write/simulate/bulk*",
	}},
	{name: "create_index", grants: []string{"indices:admin/create", "indices:admin/auto_create", "indices:admin/data_stream/create"}},
	{name: "cross_cluster_replication"},
	{name: "cross_cluster_replication_internal"},
	{name: "delete", grants: []string{"indices:data/write/delete*", "indices:data/write/bulk*", "indices:data/write/simulate/bulk*"}},
	{name: "delete_index", grants: []string{"indices:admin/delete", "indices:admin/data_stream/delete"}},
	{name: "index", grants: []string{
		"indices:data/write/index*", "indices:data/write/bulk*", "indices:data/write/update*", "indices:data/write/simulate/bulk*",
	}},
	{name: "maintenance", grants: []string{
		"indices:admin/refresh*", "indices:admin/flush*", "indices:admin/synced_flush", "indices:admin/forcemerge*",
	}},
	{name: "manage", grants: []string{"indices:monitor/*", "indices:admin/*"}},
	{name: "manage_data_stream_lifecycle", grants: []string{"indices:admin/data_stream/lifecycle/*"}},
	{name: "manage_failure_store"},
	{name: "manage_follow_index"},
	{name: "manage_ilm", grants: []string{"indices:admin/ilm/*"}},
	{name: "manage_leader_index", grants: []string{"indices:admin/xpack/ccr/forget_follower*"}},
	{name: "monitor", grants: []string{"indices:monitor/*"}},
	{name: "none"},
	{name: "read", grants: []string{"indices:data/read/*"}},
	{name: "read_cross_cluster"},
	{name: "read_failure_store"},
	{name: "view_index_metadata", grants: []string{
		"indices:admin/aliases/get", "indices:admin/get", "indices:admin/mappings/get", "indices:admin/mappings/fields/get*",
		"indices:admin/shards/search_shards", "indices:admin/validate/query*", "indices:monitor/settings/get",
		"indices:admin/ilm/explain", "indices:admin/data_stream/get", "indices:admin/resolve/index",
	}},
	{name: "write", grants: []string{"indices:data/write/*", "indices:admin/mapping/auto_put"}},
}

// findIndexPrivilege resolves a name, or a pattern of actions, which also grants every
// action that begins with it.
func findIndexPrivilege(name string) (privilege, bool) {
	name = strings.ToLower(name)
	for _, p := range indexPrivileges {
		if p.name == name {
			return p, true
		}
	}
	if matchesAny(indexPrivileges[0].grants, name) {
		return privilege{name: name, grants: []string{name + "*"}}, true
	}
	return privilege{}, false
}
