package httpapi

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"jeton/fsm"
)

// pathForwardAuth is where a gateway asks about each request before it lets it through.
const pathForwardAuth = "/_forward_auth"

// anyMethod among the methods of a path stands for all there are, unknown ones too. It
// is for gateways, and served by [Server.serveForeign].
const anyMethod = "*"

// forwardAuthRoutes are for gateways: nginx auth_request, Caddy forward_auth, Traefik
// ForwardAuth, and Envoy ext_authz, which appends the path of the request in question.
func (s *Server) forwardAuthRoutes(handle handle) {
	ask := methods{anyMethod: {access: self}}
	handle(pathForwardAuth, ask)
	handle(pathForwardAuth+"/{original:.*}", ask)
}

// foreignError is an error of somebody else's request. Gateways pass on one challenge
// at most.
type foreignError struct{ err error }

func (e *foreignError) Error() string { return "forward auth: " + e.err.Error() }
func (e *foreignError) Unwrap() error { return e.err }

// demandError is a caller without what the gateway demands.
type demandError struct{ reason string }

func (e *demandError) Error() string { return e.reason }

var connectionClose = []string{"close"}

// serveForeign answers a gateway. What it sends is made of somebody else's request:
// method, headers, with some the path, the query or the body. Only the credentials
// count. The rest is for the backend to judge, and an answer other than 200, 401 and 403
// is a failure of ours to most gateways: hence no 400, 406 or 413.
func (s *Server) serveForeign(w http.ResponseWriter, r *http.Request, route string) {
	x, _ := exchanges.Get().(*exchange)
	defer s.release(x)
	x.request, x.route = r, route
	if s.log.IsDebug() {
		x.started = s.now()
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.timeout)
	defer cancel()
	if sendsBody(r) && r.ProtoMajor == 1 {
		// Else net/http would wait for the body before it answers, and many gateways tell
		// the length of one that they do not send.
		w.Header()["Connection"] = connectionClose
	}
	if err := s.forwardAuth(ctx, x); err != nil {
		w.Header()["Cache-Control"] = noStore
		s.fail(w, x, err, mediaJSON)
		return
	}
	showIdentity(w.Header(), x.caller.Identity)
	// Never to be kept: the token may be invalidated the next moment. Envoy takes no
	// other status than 200.
	s.respond(w, x, response{status: http.StatusOK, noStore: true}, mediaJSON, false)
}

// forwardAuth finds out whose request it is, by what is known of its user alone, and whether that
// user has what the gateway demands.
func (s *Server) forwardAuth(ctx context.Context, x *exchange) (err error) {
	defer recoverTo(&err)
	if err := s.forwarded(ctx, x); err != nil {
		return &foreignError{err}
	}
	return nil
}

func (s *Server) forwarded(ctx context.Context, x *exchange) error {
	header := x.request.Header
	if differ(header["Authorization"]) {
		return &headerError{reason: "multiple values for single-valued header [Authorization].", audit: reasonMalformed}
	}
	credentials, err := credentialsOf(header)
	if err != nil {
		return err
	}
	if x.caller, err = s.authenticator.Recognize(ctx, credentials); err != nil {
		return &callerError{credentials: credentials, err: err}
	}
	if _, asked := header[canonicalRunAs]; asked {
		// To show the caller instead would give the request the rights that its sender
		// meant to lay down; to show the other user is not for a gateway to allow.
		return &demandError{reason: "[" + headerRunAs + "] cannot be used through a gateway"}
	}
	if x.route != pathForwardAuth {
		return nil // the query belongs to the path, and both to the request in question
	}
	return s.meet(x.caller.Identity, x.request.URL.RawQuery)
}

// meet tells whether a user has every role and every privilege that the query
// demands. Gateways may append the query of the request in question to theirs, so
// whoever sent that can demand more; never less, for each demand must be met. Other
// parameters, and what cannot be decoded, are not ours.
func (s *Server) meet(user *fsm.Identity, rawQuery string) error {
	for pair := range strings.SplitSeq(rawQuery, "&") {
		name, value, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(name)
		if err != nil {
			continue
		}
		switch name = strings.ToLower(name); name {
		case "role", "privilege":
			demand, err := url.QueryUnescape(value)
			if err != nil {
				return &demandError{reason: "the demand [" + name + "] cannot be decoded"}
			}
			if name == "role" {
				err = meetRole(user, demand)
			} else {
				err = s.meetPrivilege(user, demand)
			}
			if err != nil {
				return err
			}
		case "roles", "privileges":
			// Ignored, it would let everybody in.
			return &demandError{reason: "there is no demand [" + name + "]: repeat [role] or [privilege], with one name each"}
		}
	}
	return nil
}

// meetRole demands a role. A narrowed token has none, for a gateway and its backend
// would give it all that the role means to them.
func meetRole(user *fsm.Identity, demand string) error {
	if slices.Contains(shownRoles(user), fsm.RoleName(demand)) {
		return nil
	}
	return &demandError{reason: "user [" + string(user.Username) + "] does not have the role [" + echo(demand) + "]"}
}

// meetPrivilege demands a cluster privilege. One that does not exist nobody has.
func (s *Server) meetPrivilege(user *fsm.Identity, demand string) error {
	has, known := s.roles.HasPrivilege(user, demand)
	switch {
	case has:
		return nil
	case !known:
		// The name may be of the end user's typing, so only the answer has it.
		s.unknownDemand.Do(func() {
			s.log.Warn("forward auth: a demanded privilege does not exist, and whoever is asked for it is refused (told once)")
		})
		return &demandError{reason: "there is no cluster privilege [" + echo(demand) + "]"}
	}
	return &demandError{reason: "user [" + string(user.Username) + "] does not have the cluster privilege [" + echo(demand) + "]"}
}

// shownRoles are the roles that others than us may judge a caller by.
func shownRoles(user *fsm.Identity) []fsm.RoleName {
	if user.Scope != nil {
		return nil
	}
	return user.Roles
}

// showIdentity sets all headers, empty ones too: some gateways pass on what the end user
// sent in place of a header that is missing (Caddy 2.6 even the name of its own variable).
func showIdentity(header http.Header, user *fsm.Identity) {
	values := [...]string{
		headerValue(string(user.Username), false),
		joinRoles(shownRoles(user)),
		headerValue(string(user.Realm.Name), false),
		headerValue(orEmpty(user.Email), false),
		headerValue(orEmpty(user.FullName), false),
		strings.Join(user.Scope, " "),
	}
	for i, name := range identityHeaders {
		header[name] = values[i : i+1 : i+1]
	}
}

// identityHeaders are what a gateway passes to its backend.
var identityHeaders = [...]string{"X-Auth-User", "X-Auth-Roles", "X-Auth-Realm", "X-Auth-Email", "X-Auth-Full-Name", "X-Auth-Scope"}

func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// joinRoles separates names by commas; a comma in a name is encoded.
func joinRoles(roles []fsm.RoleName) string {
	switch len(roles) {
	case 0:
		return ""
	case 1:
		return headerValue(string(roles[0]), true)
	}
	var b strings.Builder
	for i, name := range roles {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(headerValue(string(name), true))
	}
	return b.String()
}

// headerValue encodes what a header cannot hold (RFC 9110, 5.5) as in a URL: all but
// printable ASCII, %, and spaces at the ends; in an element of a list also commas.
// Decoding gives exactly what was encoded.
func headerValue(s string, element bool) string {
	plain := 0
	for plain < len(s) && isPlain(s, plain, element) {
		plain++
	}
	if plain == len(s) {
		return s
	}
	const digits = "0123456789ABCDEF"
	encoded := make([]byte, 0, 3*len(s)) //nolint:mnd // a byte becomes three
	for i := range len(s) {
		if isPlain(s, i, element) {
			encoded = append(encoded, s[i])
		} else {
			encoded = append(encoded, '%', digits[s[i]>>4], digits[s[i]&15])
		}
	}
	return string(encoded)
}

func isPlain(s string, i int, element bool) bool {
	switch s[i] {
	case ' ':
		return i > 0 && i < len(s)-1
	case ',':
		return !element
	case '%':
		return false
	default:
		return s[i] > ' ' && s[i] < 0x7f
	}
}
