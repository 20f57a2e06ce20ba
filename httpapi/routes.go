package httpapi

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/gorilla/mux"
)

// methods are the operations of one path.
type methods map[string]operation

// handle serves a path, given as gorilla/mux's template.
type handle func(template string, m methods)

// routes serves everything that [Server.everyRoute] lists.
func (s *Server) routes() http.Handler {
	// The path as it is, encoded: a name may contain a slash.
	router := mux.NewRouter().UseEncodedPath().SkipClean(true)
	fixed := make(map[string]http.Handler)
	handle := func(template string, m methods) {
		endpoint := s.endpoint(template, former(template, m))
		router.Handle(template, endpoint)
		if !strings.Contains(template, "{") {
			fixed[template] = endpoint
		}
	}
	s.everyRoute(handle)
	router.NotFoundHandler = s.refuse(&routeError{})
	// The slash goes first: to the router /user/_privileges/ is a user.
	return withoutTrailingSlash(shortcut(fixed, router))
}

// everyRoute lists everything that is served.
func (s *Server) everyRoute(handle handle) {
	s.tokenRoutes(handle)
	s.userRoutes(handle)
	s.clusterRoutes(handle)
	s.nodeRoutes(handle)
	s.catRoutes(handle)
	s.licenseRoutes(handle)
	s.privilegeRoutes(handle)
	s.clearCacheRoutes(handle)
	s.probeRoutes(handle)
	s.oauth2Routes(handle)
	s.forwardAuthRoutes(handle)
}

// tokenRoutes are Elasticsearch's for tokens, and for who their caller is.
func (s *Server) tokenRoutes(handle handle) {
	authenticate := methods{http.MethodGet: {access: self, action: actionAuthenticate, do: s.getAuthenticate}}
	tokens := methods{
		http.MethodPost:   {access: write, action: actionCreateToken, body: true, do: s.postToken},
		http.MethodDelete: {access: write, action: actionInvalidateToken, body: true, params: []string{paramConfirm}, do: s.deleteToken},
		http.MethodGet:    {access: read, action: actionGetTokens, params: sessionParams, do: s.getTokens},
	}
	for _, prefix := range prefixes {
		handle(prefix+"/_authenticate", authenticate)
		handle(prefix+"/oauth2/token", tokens)
	}
}

// prefixes are the present and the former one of all that concerns security.
var prefixes = [...]string{"/_security", "/_xpack/security"}

// userRoutes are those for users and roles.
func (s *Server) userRoutes(handle handle) {
	refresh := []string{"refresh"}
	password := operation{access: write, action: actionChangePassword, body: true, params: refresh, do: s.setPassword}
	enable := operation{access: write, action: actionSetEnabled, params: refresh, do: s.setEnabled(true)}
	disable := operation{access: write, action: actionSetEnabled, params: refresh, do: s.setEnabled(false)}
	putUser := operation{access: write, action: actionPutUser, body: true, params: refresh, do: s.putUser}
	putRole := operation{access: write, action: actionPutRole, body: true, params: refresh, do: s.putRole}
	getUsers := operation{access: read, action: actionGetUsers, params: []string{"with_profile_uid"}, do: s.getUsers}
	getRoles := operation{access: read, action: actionGetRoles, do: s.getRoles}
	for _, prefix := range prefixes {
		handle(prefix+"/user", methods{http.MethodGet: getUsers})
		handle(prefix+"/user/_password", methods{http.MethodPut: password, http.MethodPost: password})
		handle(prefix+"/user/{username}", methods{
			http.MethodGet: getUsers, http.MethodPut: putUser, http.MethodPost: putUser,
			http.MethodDelete: {access: write, action: actionDeleteUser, params: refresh, do: s.deleteUser},
		})
		handle(prefix+"/user/{username}/_password", methods{http.MethodPut: password, http.MethodPost: password})
		handle(prefix+"/user/{username}/_enable", methods{http.MethodPut: enable, http.MethodPost: enable})
		handle(prefix+"/user/{username}/_disable", methods{http.MethodPut: disable, http.MethodPost: disable})
		handle(prefix+"/role", methods{http.MethodGet: getRoles})
		handle(prefix+"/role/{name}", methods{
			http.MethodGet: getRoles, http.MethodPut: putRole, http.MethodPost: putRole,
			http.MethodDelete: {access: write, action: actionDeleteRole, params: refresh, do: s.deleteRole},
		})
	}
}

// clusterRoutes tell about the cluster.
func (s *Server) clusterRoutes(handle handle) {
	main := operation{access: read, action: actionMain, pretty: true, do: s.getMain}
	handle("/", methods{http.MethodGet: main, http.MethodHead: main})
	handle("/_cluster/health", methods{http.MethodGet: {access: read, action: actionHealth, params: healthParams, do: s.getHealth}})
}

// probeRoutes are for load balancers, without credentials.
func (s *Server) probeRoutes(handle handle) {
	live, ready := operation{do: s.getLive}, operation{do: s.getReady}
	handle("/livez", methods{http.MethodGet: live, http.MethodHead: live})
	handle("/readyz", methods{http.MethodGet: ready, http.MethodHead: ready})
}

// endpoint serves one path. A method that it does not have is refused with the list
// of those it has; OPTIONS asks for just that list.
func (s *Server) endpoint(template string, m methods) http.Handler {
	if _, ok := m[anyMethod]; ok {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.serveForeign(w, r, template) })
	}
	var allowed []string
	for method := range m {
		allowed = append(allowed, method)
	}
	slices.Sort(allowed)
	allow := []string{strings.Join(allowed, ",")}
	refused := s.refuse(&methodError{allowed: allowed})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if op, ok := m[r.Method]; ok {
			s.serve(w, r, template, &op)
			return
		}
		w.Header()["Allow"] = allow
		if r.Method == http.MethodOptions {
			w.Header()["X-Elastic-Product"] = product
			w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
			w.WriteHeader(http.StatusOK)
			return
		}
		refused.ServeHTTP(w, r)
	})
}

// refuse answers every request with the same error.
func (s *Server) refuse(err error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := &exchange{request: r, route: "-", started: s.now()}
		s.fail(w, x, err, mediaJSON)
	})
}

// shortcut finds paths without names in them by one look-up. A router that copies the
// request twice would be a third of what an authentication costs here.
func shortcut(fixed map[string]http.Handler, router http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if endpoint, ok := fixed[r.URL.Path]; ok && r.URL.RawPath == "" {
			endpoint.ServeHTTP(w, r)
			return
		}
		router.ServeHTTP(w, r)
	})
}

// withoutTrailingSlash treats /x/ like /x, as Elasticsearch does. Only a slash that
// was sent as one counts: /user/bob%2F is the user "bob/", and nobody else.
func withoutTrailingSlash(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n := len(r.URL.Path); n > 1 && r.URL.Path[n-1] == '/' {
			r = withPath(r, cmp.Or(strings.TrimRight(r.URL.EscapedPath(), "/"), "/"))
		}
		next.ServeHTTP(w, r)
	})
}

// withPath returns the request for another path, given in its escaped form.
func withPath(r *http.Request, escaped string) *http.Request {
	path, err := url.PathUnescape(escaped)
	if err != nil {
		return r // not reached: the URL has been parsed
	}
	shorter, target := *r, *r.URL
	target.Path, target.RawPath = path, ""
	if target.EscapedPath() != escaped {
		target.RawPath = escaped
	}
	shorter.URL = &target
	return &shorter
}
