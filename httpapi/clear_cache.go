package httpapi

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"jeton/fsm"
)

// Actions of the clear cache endpoints.
const (
	actionClearRealms     = "cluster:admin/xpack/security/realm/cache/clear"
	actionClearRoles      = "cluster:admin/xpack/security/roles/cache/clear"
	actionClearPrivileges = "cluster:admin/xpack/security/privilege/cache/clear"
	actionClearAPIKeys    = "cluster:admin/xpack/security/api_key/cache/clear"
)

// clearCacheRoutes are for operators who changed something behind Elasticsearch's back.
// There is one cache here, of verified passwords, and it never goes wrong: a changed
// password is another verifier. So every change is in force everywhere without it.
func (s *Server) clearCacheRoutes(handle handle) {
	realms := methods{http.MethodPost: {access: read, action: actionClearRealms, params: []string{"usernames"}, do: s.clearRealms}}
	roles := methods{http.MethodPost: {access: read, action: actionClearRoles, do: s.clearNothing(actionClearRoles)}}
	for _, prefix := range prefixes {
		handle(prefix+"/realm/{realms}/_clear_cache", realms)
		handle(prefix+"/role/{name}/_clear_cache", roles)
	}
	handle("/_security/privilege/{application}/_clear_cache", methods{http.MethodPost: {
		access: read, action: actionClearPrivileges, do: s.clearNothing(actionClearPrivileges),
	}})
	handle("/_security/api_key/{ids}/_clear_cache", methods{http.MethodPost: {
		access: read, action: actionClearAPIKeys, do: s.clearNothing(actionClearAPIKeys),
	}})
}

// clearRealms forgets which passwords were verified, on this node, whose memory it is.
// Which users they belong to is not known there, so it forgets all. An unknown realm
// fails as it does in Elasticsearch: on the node, not as a whole.
func (s *Server) clearRealms(_ context.Context, x *exchange) (response, error) {
	if err := s.authorize(x, actionClearRealms); err != nil {
		return response{}, err
	}
	for _, name := range x.list("realms") {
		if slices.Contains([]string{"_all", "*", string(fsm.RealmReserved), string(fsm.RealmNative), "default_file"}, name) {
			continue
		}
		return s.notCleared(x, "could not find active realm ["+echo(name)+"]"), nil
	}
	if s.forgetPasswords != nil {
		s.forgetPasswords()
	}
	s.changed(x, "realm caches cleared", "realms", strings.Join(x.list("realms"), ","))
	return s.cleared(x), nil
}

// clearNothing answers for a cache that does not exist, and so is empty.
func (s *Server) clearNothing(action string) func(context.Context, *exchange) (response, error) {
	return func(_ context.Context, x *exchange) (response, error) {
		if err := s.authorize(x, action); err != nil {
			return response{}, err
		}
		return s.cleared(x), nil
	}
}

// cleared answers for this node, the only one that was asked to do something.
func (s *Server) cleared(x *exchange) response {
	about := s.cluster.About()
	dst := appendNodesHeader(append(x.scratch[:0], '{'), 1, 0)
	dst = append(dst, `,"cluster_name":`...)
	dst = appendString(dst, about.ClusterName)
	dst = append(dst, `,"nodes":{`...)
	dst = appendString(dst, about.NodeID)
	dst = append(dst, `:{"name":`...)
	x.scratch = append(appendString(dst, about.NodeName), "}}}"...)
	return response{status: http.StatusOK, body: x.scratch}
}

// notCleared answers that this node could not.
func (s *Server) notCleared(x *exchange, reason string) response {
	about := s.cluster.About()
	dst := append(x.scratch[:0], `{"_nodes":{"total":1,"successful":0,"failed":1,"failures":[{"type":"failed_node_exception","reason":`...)
	dst = appendString(dst, "Failed node ["+about.NodeID+"]")
	dst = append(dst, `,"node_id":`...)
	dst = appendString(dst, about.NodeID)
	dst = append(dst, `,"caused_by":{"type":"`+typeIllegalArgument+`","reason":`...)
	dst = appendString(dst, reason)
	dst = append(dst, `}}]},"cluster_name":`...)
	x.scratch = append(appendString(dst, about.ClusterName), `,"nodes":{}}`...)
	return response{status: http.StatusOK, body: x.scratch}
}
