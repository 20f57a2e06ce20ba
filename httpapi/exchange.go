package httpapi

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/gorilla/mux"

	"jeton/node/realm"
	"jeton/node/token"
)

// access says what an operation asks of its caller.
type access int

const (
	// open operations serve anybody.
	open access = iota
	// read operations answer from this node's state: the caller is authenticated with
	// a confirmed read, so the answer rests on everything acknowledged before.
	read
	// self operations are reads whose answer is of their caller alone: who it is, and
	// what its roles grant it. A node with a read lease asks nobody for them.
	self
	// write operations end in a proposal that carries the caller's guard; see
	// [Server.guarded].
	write
)

// operation is one method of one path.
type operation struct {
	access  access
	action  string                   // Elasticsearch's name of it; for tokens, the grants that are no refresh
	params  []string                 // query parameters it knows beside the common ones
	body    bool                     // it reads one
	pretty  bool                     // its answer is laid out unless the client says otherwise
	warning []string                 // the answer's Warning header; nil: none
	former  func(body []byte) []byte // what the answer was at this path; nil: what it is
	oauth2  *oauth2Options           // nil: it is none of OAuth 2.0's
	do      func(ctx context.Context, x *exchange) (response, error)
}

// response is a successful answer, or one that is no error although its status is.
type response struct {
	status  int
	body    []byte // compact JSON, unless text
	text    bool   // the body is plain text
	noStore bool   // it carries credentials (RFC 6749, 5.1)
	lasting bool   // it is the same for all and may be kept for a while
	retry   bool   // Retry-After

	undecided bool // the state machine has not been asked
}

// exchange is one request while it is served. Handlers append their answer to
// scratch[:0]; it and the body are reused after the exchange and must not be kept.
type exchange struct {
	request  *http.Request
	route    string // the path's template, which is all that the log says of the path
	query    url.Values
	body     []byte
	reserved int64 // of [Server.held], for the body
	strange  int64 // of [Server.strangers], likewise
	caller   token.Caller
	oauth2   *oauth2Request // nil: see operation
	public   bool           // the caller is a public client (RFC 6749, 2.1)
	warning  []string       // see operation
	scratch  []byte
	started  time.Time // zero unless requests are logged
}

var exchanges = sync.Pool{New: func() any { return new(exchange) }}

const (
	maxPooledBytes = 16 << 10 // so that one large request does not hold its buffers for ever
	usualBodyBytes = 512      // a token request has fewer
)

// release gives the exchange back without anything of the client's in it.
func (s *Server) release(x *exchange) {
	if x.reserved > 0 {
		s.held.Release(x.reserved)
	}
	if x.strange > 0 {
		s.strangers.Release(x.strange)
	}
	clear(x.body)
	clear(x.scratch)
	body, scratch := x.body[:0], x.scratch[:0]
	if cap(body) > maxPooledBytes || cap(scratch) > maxPooledBytes {
		body, scratch = nil, nil
	}
	*x = exchange{body: body, scratch: scratch}
	exchanges.Put(x)
}

// param is a decoded part of the path. Like Elasticsearch, a plus is a plus.
func (x *exchange) param(name string) string {
	encoded := mux.Vars(x.request)[name]
	decoded, err := url.PathUnescape(encoded)
	if err != nil {
		return encoded // not reached: the URL has been parsed
	}
	return decoded
}

// serve runs one operation: headers, credentials, body, handler, answer.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, route string, op *operation) {
	x, _ := exchanges.Get().(*exchange)
	defer s.release(x)
	x.request, x.route = r, route
	if op.oauth2 != nil {
		x.oauth2 = new(oauth2Request)
	}
	if s.log.IsDebug() {
		x.started = s.now()
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.timeout)
	defer cancel()
	mediaType, err := answerType(r.Header)
	var answer response
	if err == nil {
		err = checkSingle(r.Header)
	}
	if err == nil {
		answer, err = s.run(ctx, w, x, op)
	}
	if err != nil {
		s.fail(w, x, err, mediaType)
		return
	}
	if op.former != nil {
		answer.body = op.former(answer.body)
	}
	s.respond(w, x, answer, mediaType, op.pretty)
}

// run does what comes before the answer. A panic becomes an error: one request must
// not end the others.
func (s *Server) run(ctx context.Context, w http.ResponseWriter, x *exchange, op *operation) (answer response, err error) {
	defer recoverTo(&err)
	if op.oauth2 != nil {
		return s.runOAuth2(ctx, w, x, op)
	}
	if err := s.checkBody(x.request); err != nil {
		return response{}, err
	}
	if x.query, err = parseQuery(x.request.URL.RawQuery); err != nil {
		return response{}, err
	}
	if op.access == open { // its body is a stranger's: never read
		return s.perform(ctx, x, op)
	}
	credentials, err := credentialsOf(x.request.Header)
	if err != nil {
		return response{}, err
	}
	if op.access == write {
		return s.guarded(ctx, w, x, op, credentials)
	}
	return s.confirmed(ctx, w, x, op, credentials)
}

// confirmed runs a read. For the caller alone a read lease will do; as whom it may act
// is for the whole state to tell. If the caller changes after it was found and before it acts
// for another user, it is looked for again.
func (s *Server) confirmed(ctx context.Context, w http.ResponseWriter, x *exchange, op *operation, credentials token.Credentials) (answer response, err error) {
	authenticate := s.authenticator.Authenticate
	if _, asOther := x.request.Header[canonicalRunAs]; op.access == self && !asOther {
		authenticate = s.authenticator.Recognize
	}
	for attempt := 1; ; attempt++ {
		if x.caller, err = authenticate(ctx, credentials); err != nil {
			return response{}, &callerError{credentials: credentials, err: err}
		}
		if attempt == 1 {
			if err := s.readBody(w, x, op); err != nil {
				return response{}, err
			}
		}
		if answer, err = s.perform(ctx, x, op); !errors.Is(err, realm.ErrStale) || !another(ctx, attempt) {
			return answer, err
		}
	}
}

// recoverTo is to be deferred: a panic becomes the error.
func recoverTo(err *error) {
	switch p := recover(); p {
	case nil:
	case http.ErrAbortHandler:
		panic(p)
	default:
		*err = &panicError{value: p, stack: debug.Stack()}
	}
}

// perform calls the handler, once the query has been found in order.
func (s *Server) perform(ctx context.Context, x *exchange, op *operation) (response, error) {
	x.warning = op.warning
	if op.access != open {
		if err := s.runAs(x, op.action); err != nil {
			return response{}, err
		}
	}
	if x.query != nil {
		if err := checkQuery(x.request.URL.Path, x.query, op.params); err != nil {
			return response{}, err
		}
		if err := x.checkForm(); err != nil {
			return response{}, err
		}
	}
	if !op.body && (len(x.body) > 0 || op.access == open && sendsBody(x.request)) {
		return response{}, &argumentError{
			reason: "request [" + x.request.Method + " " + x.request.URL.Path + "] does not support having a body",
		}
	}
	return op.do(ctx, x)
}

// guarded runs a write for the caller whose credentials these are. The body is read
// once. That it cannot be says nothing of the state and so needs no confirmation.
func (s *Server) guarded(ctx context.Context, w http.ResponseWriter, x *exchange, op *operation, credentials token.Credentials) (response, error) {
	read := false
	identify := func(authenticate authentication) error {
		var err error
		if x.caller, err = authenticate(ctx, credentials); err != nil {
			return &callerError{credentials: credentials, err: err}
		}
		if read {
			return nil
		}
		read = true
		return s.readBody(w, x, op)
	}
	return s.settle(ctx, identify, func() (response, error) { return s.perform(ctx, x, op) })
}

// authentication is one of the two ways to authenticate: see [Authenticator].
type authentication func(context.Context, token.Credentials) (token.Caller, error)

// settle runs a write until its answer may be believed. The caller is first
// authenticated by this node's state alone, without asking the others: the state
// machine refuses the command if that was out of date. Only an answer that rests on
// an applied command is therefore believed; any other is thrown away and the write
// repeated with a confirmed read, until the deadline. An error of identify, which
// sets the exchange's caller, is final.
func (s *Server) settle(ctx context.Context, identify func(authentication) error, act func() (response, error)) (response, error) {
	authenticate, confirmed := authentication(s.authenticator.AuthenticateForWrite), false
	for attempt := 1; ; attempt++ {
		if err := identify(authenticate); err != nil {
			return response{}, err
		}
		answer, err := act()
		switch {
		case errors.Is(err, realm.ErrStale):
			if !another(ctx, attempt) {
				return response{}, realm.ErrUnavailable
			}
		case confirmed, decided(answer, err):
			return answer, err
		}
		authenticate, confirmed = s.authenticator.Authenticate, true
	}
}

// Attempts of a request whose ground keeps shifting: the first follow one another at
// once, for one confirmed read usually settles it.
const (
	freeAttempts    = 3
	attemptInterval = 10 * time.Millisecond
)

// another tells, perhaps after a while, whether there is time for another attempt.
func another(ctx context.Context, attempt int) bool {
	if attempt > freeAttempts {
		pause(ctx, attemptInterval)
	}
	return ctx.Err() == nil
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// decided reports whether the state machine (or its absence) made the answer.
func decided(answer response, err error) bool {
	if err != nil {
		return isRefusal(err) || errors.Is(err, realm.ErrUnavailable) || errors.Is(err, realm.ErrOverloaded) ||
			errors.Is(err, realm.ErrBusy)
	}
	return answer.status == http.StatusOK && !answer.undecided
}

// respond writes a handler's answer.
func (s *Server) respond(w http.ResponseWriter, x *exchange, answer response, mediaType string, pretty bool) {
	header := w.Header()
	if answer.noStore {
		header["Cache-Control"] = noStore
	}
	if answer.lasting {
		header["Cache-Control"] = lasting
	}
	if answer.retry {
		header["Retry-After"] = retryAfter
	}
	if answer.text {
		s.write(w, x, answer.status, answer.body, mediaText)
		return
	}
	body, mediaType := answer.body, x.mediaType(mediaType)
	if x.query != nil {
		body = x.cut(body)
	}
	s.write(w, x, answer.status, layOut(body, mediaType, x.flagged("pretty", pretty)), mediaType)
}

// fail writes an error's answer; [replyFor] knows it. As in Elasticsearch, filter_path
// cuts nothing out of an error.
func (s *Server) fail(w http.ResponseWriter, x *exchange, err error, mediaType string) {
	if x.query == nil { // it came before the query was read, which tells the answer's form
		x.query, _ = parseQuery(x.request.URL.RawQuery)
	}
	reply := s.replyFor(x, err)
	s.audit(x, reply, err)
	if x.oauth2 != nil {
		reply = oauth2Reply(reply, err)
	}
	header := w.Header()
	if len(reply.challenges) > 0 {
		header["Www-Authenticate"] = reply.challenges
	}
	if reply.retry {
		header["Retry-After"] = retryAfter
	}
	reply.trace = x.flagged("error_trace", false)
	mediaType = x.mediaType(mediaType)
	s.write(w, x, reply.status, layOut(reply.append(nil), mediaType, x.flagged("pretty", false)), mediaType)
}

// Values of headers that never change, shared by all answers.
var (
	product    = []string{"Elasticsearch"}
	noStore    = []string{"no-store"}
	noCache    = []string{"no-cache"}
	lasting    = []string{"public, max-age=300"}
	retryAfter = []string{"1"} // seconds; an election takes about as long
	typeJSON   = []string{mediaJSON}
)

// write is the only place where an answer leaves.
func (s *Server) write(w http.ResponseWriter, x *exchange, status int, body []byte, mediaType string) {
	header := w.Header()
	if x.warning != nil {
		header["Warning"] = x.warning
	}
	header["X-Elastic-Product"] = product
	if mediaType == mediaJSON {
		header["Content-Type"] = typeJSON
	} else {
		header["Content-Type"] = []string{mediaType}
	}
	if opaque := x.request.Header["X-Opaque-Id"]; len(opaque) > 0 && !differ(opaque) {
		header["X-Opaque-Id"] = opaque[:1]
	}
	header["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(status)
	if x.request.Method != http.MethodHead {
		_, _ = w.Write(body) // a client that went away is not our error
	}
	if s.log.IsDebug() {
		s.log.Debug("request", "method", knownMethod(x.request.Method), "route", x.route, "status", status,
			"remote", x.request.RemoteAddr, "took", s.now().Sub(x.started))
	}
}
