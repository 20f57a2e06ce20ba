package realm

import (
	"slices"
	"strings"

	"jeton/fsm"
)

// Patterns of Elasticsearch's action names.
const (
	securityActions = "cluster:admin/xpack/security/*"
	tokenActions    = "cluster:admin/xpack/security/token/*"
)

// privilege is a cluster privilege: the actions it grants, as patterns, and those
// that it does not although a pattern says so.
type privilege struct {
	name   string
	grants []string
	but    string
}

// privileges are Elasticsearch's cluster privileges from the least to the greatest,
// the order in which its messages list them. Most grant nothing that exists here, but
// their patterns tell which of them has another. Those without any are had only by name
// and by "all".
var privileges = [...]privilege{
	{name: "manage_own_api_key"},
	{name: "none"},
	{name: "cancel_task", grants: []string{"cluster:admin/tasks/cancel*"}},
	{name: "cross_cluster_replication"},
	{name: "cross_cluster_search"},
	{name: "delegate_pki", grants: []string{"cluster:admin/xpack/security/delegate_pki", "cluster:admin/xpack/security/token/invalidate"}},
	{name: "grant_api_key", grants: []string{"cluster:admin/xpack/security/api_key/grant*"}},
	{name: "manage_autoscaling", grants: []string{"cluster:admin/autoscaling/*"}},
	{name: "manage_connector", grants: []string{"cluster:admin/xpack/connector/*"}},
	{name: "manage_data_stream_global_retention"},
	{name: "manage_enrich", grants: []string{"cluster:admin/xpack/enrich/*"}},
	{name: "manage_esql"},
	{name: "manage_index_templates", grants: []string{"indices:admin/template/*", "indices:admin/index_template/*", "cluster:admin/component_template/*"}},
	{name: "manage_inference", grants: []string{"cluster:admin/xpack/inference/*", "cluster:monitor/xpack/inference*"}},
	{name: "manage_logstash_pipelines", grants: []string{"cluster:admin/logstash/pipeline/*"}},
	{name: "manage_oidc", grants: []string{"cluster:admin/xpack/security/oidc/*"}},
	{name: "manage_reindex"},
	{name: "manage_saml", grants: []string{
		"cluster:admin/xpack/security/saml/*",
		"cluster:admin/xpack/security/token/invalidate",
		"cluster:admin/xpack/security/token/refresh",
	}},
	{name: "manage_search_application", grants: []string{"cluster:admin/xpack/application/search_application/*"}},
	{name: "manage_search_query_rules", grants: []string{"cluster:admin/xpack/query_rules/*"}},
	{name: "manage_search_synonyms", grants: []string{"cluster:admin/synonyms/*"}},
	{name: "manage_service_account", grants: []string{"cluster:admin/xpack/security/service_account/*"}},
	{name: "manage_token", grants: []string{tokenActions}},
	{name: "manage_user_profile", grants: []string{"cluster:admin/xpack/security/profile/*"}},
	{name: "monitor_connector", grants: []string{"cluster:monitor/xpack/connector/*"}},
	{name: "monitor_data_stream_global_retention"},
	{name: "monitor_enrich", grants: []string{"cluster:monitor/xpack/enrich/*", "cluster:admin/xpack/enrich/get"}},
	{name: "monitor_esql", grants: []string{"cluster:monitor/xpack/esql/*"}},
	{name: "monitor_inference", grants: []string{"cluster:monitor/xpack/inference*"}},
	{name: "monitor_ml", grants: []string{"cluster:monitor/xpack/ml/*"}},
	{name: "monitor_rollup", grants: []string{"cluster:monitor/xpack/rollup/*"}},
	{name: "monitor_snapshot", grants: []string{"cluster:admin/snapshot/status*", "cluster:admin/snapshot/get", "cluster:admin/repository/get"}},
	{name: "monitor_stats", grants: []string{"cluster:monitor/stats*"}},
	{name: "monitor_text_structure", grants: []string{"cluster:monitor/text_structure/*"}},
	{name: "monitor_watcher", grants: []string{"cluster:monitor/xpack/watcher/*"}},
	{name: "post_behavioral_analytics_event", grants: []string{"cluster:admin/xpack/application/analytics/post_event"}},
	{name: "read_ccr", grants: []string{"cluster:monitor/state", "cluster:admin/xpack/security/user/has_privileges"}},
	{name: "read_connector_secrets"},
	{name: "read_fleet_secrets"},
	{name: "read_ilm", grants: []string{"cluster:admin/ilm/get", "cluster:admin/ilm/operation_mode/get"}},
	{name: "read_pipeline", grants: []string{"cluster:admin/ingest/pipeline/get", "cluster:admin/ingest/pipeline/simulate"}},
	{name: "read_slm", grants: []string{"cluster:admin/slm/get", "cluster:admin/ilm/operation_mode/get"}},
	{name: "transport_client", grants: []string{"cluster:monitor/nodes/liveness", "cluster:monitor/state"}},
	{name: "write_connector_secrets"},
	{name: "write_fleet_secrets"},
	{name: "create_snapshot", grants: []string{"cluster:admin/snapshot/create", "cluster:admin/snapshot/status*", "cluster:admin/snapshot/get", "cluster:admin/repository/get"}},
	{name: "manage_behavioral_analytics", grants: []string{"cluster:admin/xpack/application/analytics/*"}},
	{name: "manage_ccr", grants: []string{"cluster:admin/xpack/ccr/*", "cluster:monitor/state", "cluster:admin/xpack/security/user/has_privileges"}},
	{name: "manage_ilm", grants: []string{"cluster:admin/ilm/*"}},
	{name: "manage_ml", grants: []string{"cluster:admin/xpack/ml/*", "cluster:monitor/xpack/ml/*"}},
	{name: "manage_rollup", grants: []string{"cluster:admin/xpack/rollup/*", "cluster:monitor/xpack/rollup/*"}},
	{name: "manage_slm", grants: []string{"cluster:admin/slm/*", "cluster:admin/ilm/start", "cluster:admin/ilm/stop", "cluster:admin/ilm/operation_mode/get"}},
	{name: "manage_watcher", grants: []string{"cluster:admin/xpack/watcher/*", "cluster:monitor/xpack/watcher/*"}},
	{name: "monitor_data_frame_transforms", grants: []string{"cluster:monitor/data_frame/*", "cluster:monitor/transform/*"}},
	{name: "monitor_transform", grants: []string{"cluster:monitor/data_frame/*", "cluster:monitor/transform/*"}},
	{name: "manage_api_key", grants: []string{"cluster:admin/xpack/security/api_key/*"}},
	{name: "manage_ingest_pipelines", grants: []string{"cluster:admin/ingest/pipeline/*"}},
	{name: "manage_pipeline", grants: []string{"cluster:admin/ingest/pipeline/*"}},
	{name: "read_security", grants: []string{
		"cluster:admin/xpack/security/api_key/get",
		"cluster:admin/xpack/security/api_key/query",
		"cluster:admin/xpack/security/privilege/builtin/get",
		"cluster:admin/xpack/security/privilege/get",
		"cluster:admin/xpack/security/profile/get",
		"cluster:admin/xpack/security/profile/has_privileges",
		"cluster:admin/xpack/security/profile/suggest",
		"cluster:admin/xpack/security/role/get",
		"cluster:admin/xpack/security/role_mapping/get",
		"cluster:admin/xpack/security/service_account/get",
		"cluster:admin/xpack/security/service_account/credential/get*",
		"cluster:admin/xpack/security/token/get",
		"cluster:admin/xpack/security/user/get",
		"cluster:admin/xpack/security/user/list_privileges",
		"cluster:admin/xpack/security/user/has_privileges",
	}},
	{name: "manage_data_frame_transforms", grants: []string{"cluster:admin/data_frame/*", "cluster:monitor/data_frame/*", "cluster:monitor/transform/*", "cluster:admin/transform/*"}},
	{name: "manage_transform", grants: []string{"cluster:admin/data_frame/*", "cluster:monitor/data_frame/*", "cluster:monitor/transform/*", "cluster:admin/transform/*"}},
	{name: "manage_security", grants: []string{securityActions}, but: "cluster:admin/xpack/security/delegate_pki"},
	{name: "monitor", grants: []string{
		"cluster:monitor/*", "indices:admin/template/get", "indices:admin/index_template/get", "cluster:admin/component_template/get",
	}},
	{name: "manage", grants: clusterActions[:], but: securityActions},
	{name: "all", grants: clusterActions[:]},
}

// clusterActions are the patterns of everything that cluster privileges are about.
var clusterActions = [...]string{"cluster:*", "indices:admin/template/*", "indices:admin/index_template/*"}

func (p privilege) allows(action string) bool {
	return matchesAny(p.grants, action) && (p.but == "" || !matchesPattern(p.but, action))
}

// findPrivilege resolves what a role names: a privilege, or a pattern of actions,
// which like in Elasticsearch also grants every action that begins with it.
func findPrivilege(name string) (privilege, bool) {
	name = strings.ToLower(name)
	if matchesAny(clusterActions[:], name) {
		return privilege{name: name, grants: []string{name + "*"}}, true
	}
	for _, p := range privileges {
		if p.name == name {
			return p, true
		}
	}
	return privilege{}, false
}

// privilegeProblem is Elasticsearch's text about a privilege that does not exist.
func privilegeProblem(name string) string {
	if _, ok := findPrivilege(name); ok {
		return ""
	}
	names := make([]string, len(privileges))
	for i, p := range privileges {
		names[i] = p.name
	}
	return "unknown cluster privilege [" + strings.ToLower(name) + "]. a privilege must be either " +
		"one of the predefined cluster privilege names [" + strings.Join(names, ",") +
		"] or a pattern over one of the available cluster actions"
}

// privilegesFor lists the privileges that allow an action, least first.
func privilegesFor(action string) []string {
	var names []string
	for _, p := range privileges {
		if p.allows(action) {
			names = append(names, p.name)
		}
	}
	return names
}

func roleAllows(role *fsm.Role, action string) bool {
	return slices.ContainsFunc(role.Cluster, func(name string) bool {
		p, ok := findPrivilege(name)
		return ok && p.allows(action)
	})
}

func matchesAny(patterns []string, action string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool { return matchesPattern(pattern, action) })
}

// matchesPattern knows * (any characters) and ? (one). It never looks back beyond
// the last *, so that a pattern of a client costs at most the product of the lengths.
func matchesPattern(pattern, action string) bool {
	p, a := 0, 0
	star, resume := -1, 0
	for a < len(action) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, resume = p, a
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == action[a]):
			p++
			a++
		case star >= 0:
			resume++
			p, a = star+1, resume
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
