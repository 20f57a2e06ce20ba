package apitest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Fuzzer makes requests that are nearly right, to every operation alike: some are
// right, the others wrong in path, query, headers or body. The same seed, and the same
// learnt words, give the same requests. It is for one goroutine.
type Fuzzer struct {
	api     *API
	random  *rand.Rand
	elastic string   // the password of elastic
	words   []string // what strings are replaced with
	fixed   int      // words that are never forgotten
}

// Request is one of a Fuzzer's.
type Request struct {
	Method string
	Target string
	Header http.Header
	Body   string
	// Operation is whom the request reaches; nil: it is not clear.
	Operation *Operation
}

// String shows the request as it can be told in a report.
func (r *Request) String() string {
	return fmt.Sprintf("%s %q %q %q", r.Method, r.Target, r.Header, r.Body)
}

// The user whom the Fuzzer tries things with, beside elastic, and the one that undoes
// them, whose name it does not know.
const (
	joe            = "joe"
	joePassword    = "a-long-password"
	joeRole        = "token_manager"
	keeper         = "keeper-of-the-keys"
	keeperPassword = "keeper-password"
)

// NewFuzzer returns a Fuzzer for a server whose user elastic has the given password.
// [Prepare] makes the other users.
func NewFuzzer(api *API, seed uint64, elasticPassword string) *Fuzzer {
	words := []string{
		"", joe, "elastic", "superuser", joeRole, joePassword, "default_native", "reserved", "manage_token", "all",
		"jat_" + strings.Repeat("A", 48), "jrt_" + strings.Repeat("A", 48), "true", "false", "wait_for", "30s", "-1", "0", "*", "**", "a.b", "-*",
		"yaml", "json", "cbor", "green", "_password", "..", "%2F", "%", "\x00", "\u202e", "\xff\xfe", "ü", "😀", " ", "a,b,,a", strings.Repeat("x", 1100),
		strings.Repeat("a.", 200), "9223372036854775808", "1e999", "{}", "[]", "null", "\r\n", "'\"<>&;=+", "password", "refresh_token",
		"client_credentials", "_kerberos", "FULL", "full",
	}
	return &Fuzzer{
		api: api, random: rand.New(rand.NewPCG(seed, 0)), elastic: elasticPassword, words: words, fixed: len(words),
	}
}

// Prepare is what to send before the requests of a Fuzzer.
func Prepare(elasticPassword string) []Request {
	return append([]Request{
		by("elastic", elasticPassword, http.MethodPut, "/_security/user/"+keeper, `{"password":"`+keeperPassword+`","roles":["superuser"]}`),
	}, restore(elasticPassword)...)
}

// restore gives back to the users what the Fuzzer takes.
func restore(elasticPassword string) []Request {
	return []Request{
		byKeeper(http.MethodPut, "/_security/role/"+joeRole, `{"cluster":["manage_token"],"run_as":["elastic"]}`),
		byKeeper(http.MethodPut, "/_security/user/"+joe, `{"password":"`+joePassword+`","roles":["`+joeRole+`"]}`),
		byKeeper(http.MethodPut, "/_security/user/elastic/_password", `{"password":"`+elasticPassword+`"}`),
		byKeeper(http.MethodPut, "/_security/user/elastic/_enable", ""),
	}
}

// Undo is what to send when a request has had the status: users and roles that the
// Fuzzer made up go, those that it uses are as they were.
func (f *Fuzzer) Undo(r *Request, status int) []Request {
	target, err := url.ParseRequestURI(r.Target)
	if err != nil || status != http.StatusOK || r.Method == http.MethodGet || r.Method == http.MethodHead {
		return nil
	}
	path := strings.Replace(strings.TrimRight(target.EscapedPath(), "/"), "/_xpack/security", "/_security", 1)
	kind, name, _ := strings.Cut(strings.TrimPrefix(path, "/_security/"), "/")
	name, action, acts := strings.Cut(name, "/")
	switch {
	case kind != "user" && kind != "role" || name == "":
		return nil
	case name == joe, name == joeRole, name == "elastic", name == "_password", acts && action == "_password":
		return restore(f.elastic)
	}
	return []Request{byKeeper(http.MethodDelete, "/_security/"+kind+"/"+name, "")}
}

func byKeeper(method, target, body string) Request {
	return by(keeper, keeperPassword, method, target, body)
}

func by(user, password, method, target, body string) Request {
	r := Request{Method: method, Target: target, Header: http.Header{"Authorization": {basic(user, password)}}, Body: body}
	if body != "" {
		r.Header.Set("Content-Type", mediaJSON)
	}
	return r
}

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

const maxLearnt = 64

// Learn has the fuzzer use the tokens of an answer.
func (f *Fuzzer) Learn(answer []byte) {
	var pair struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
	}
	if json.Unmarshal(answer, &pair) != nil {
		return
	}
	for _, token := range []string{pair.Access, pair.Refresh} {
		if token == "" {
			continue
		}
		if len(f.words)-f.fixed >= maxLearnt {
			f.words = slices.Delete(f.words, f.fixed, f.fixed+1)
		}
		f.words = append(f.words, token)
	}
}

// Next makes a request.
func (f *Fuzzer) Next() Request {
	operation := &f.api.Operations[f.random.IntN(len(f.api.Operations))]
	r := Request{Method: operation.Method, Operation: operation, Header: http.Header{}}
	f.aim(&r)
	if f.oneIn(20) {
		r.Method, r.Operation = pick(f, append(slices.Clone(methods), "BREW", "CONNECT", "get")), nil
	}
	f.ask(&r)
	f.sign(&r)
	f.fill(&r)
	return r
}

func (f *Fuzzer) oneIn(n int) bool { return f.random.IntN(n) == 0 }

func pick[T any](f *Fuzzer, list []T) T { return list[f.random.IntN(len(list))] }

// word is something that a name or a value may be.
func (f *Fuzzer) word() string {
	word := pick(f, f.words)
	if f.oneIn(4) {
		word = f.spoil(word)
	}
	return word
}

// spoil changes some bytes.
func (f *Fuzzer) spoil(text string) string {
	spoilt := []byte(text)
	for range 1 + f.random.IntN(4) {
		at := f.random.IntN(len(spoilt) + 1)
		switch f.random.IntN(4) {
		case 0:
			spoilt = slices.Insert(spoilt, at, byte(f.random.IntN(256)))
		case 1:
			spoilt = slices.Insert(spoilt, at, []byte(pick(f, f.words))...)
		case 2:
			spoilt = spoilt[:at]
		case 3:
			if at < len(spoilt) {
				spoilt[at] ^= 1 << f.random.IntN(8)
			}
		}
	}
	return string(spoilt)
}

// aim chooses the path.
func (f *Fuzzer) aim(r *Request) {
	steps := strings.Split(r.Operation.Path, "/")
	for i, step := range steps {
		if !strings.HasPrefix(step, "{") {
			continue
		}
		name := joe
		if f.oneIn(2) {
			name = f.word()
		}
		if name == "" || name[0] == '_' {
			r.Operation = nil // another path, perhaps
		}
		steps[i] = url.PathEscape(name)
	}
	r.Target = strings.Join(steps, "/")
	if f.oneIn(25) {
		r.Target, r.Operation = "/"+strings.TrimLeft(f.spoil(r.Target), "/"), nil
	}
	r.Target = strings.Map(printable, r.Target)
}

// printable keeps a request one that net/http takes for one: what is not is refused
// before it gets to us.
func printable(c rune) rune {
	if c <= ' ' || c >= 0x7f {
		return -1
	}
	return c
}

// ask adds parameters.
func (f *Fuzzer) ask(r *Request) {
	known := Common()
	if r.Operation != nil {
		known = append(known, r.Operation.Query...)
	}
	var parameters []string
	for f.oneIn(3) {
		name := pick(f, known)
		if f.oneIn(10) {
			name = f.word()
		}
		value := url.QueryEscape(f.word())
		if f.oneIn(10) {
			value = strings.Map(printable, f.word())
		}
		parameters = append(parameters, url.QueryEscape(name)+"="+value)
	}
	if len(parameters) > 0 {
		r.Target += "?" + strings.Join(parameters, "&")
	}
}

// Values of headers that mean something.
var (
	mediaTypes = []string{
		mediaJSON, mediaForm, mediaYAML, "text/plain", "*/*", "application/json;charset=utf-8", mediaVendor + ";compatible-with=8",
		mediaVendor + "; compatible-with=99", mediaVendor, "application/cbor", ";", "application/json, text/plain;q=0.1", "",
	}
	headers = []string{
		"Es-Security-Runas-User", "X-Opaque-Id", "Traceparent", "X-Forwarded-Uri", "X-Forwarded-Method", "X-Forwarded-For",
		"X-Original-Url", "Cookie", "If-Match", "Range", "Origin", "Expect", "Accept-Encoding", "X-Elastic-Product-Origin",
	}
)

// sign adds headers.
func (f *Fuzzer) sign(r *Request) {
	switch f.random.IntN(12) {
	case 0: // nobody
	case 1, 2, 3:
		r.Header.Set("Authorization", basic(joe, joePassword))
	default:
		r.Header.Set("Authorization", basic("elastic", f.elastic))
	}
	if f.oneIn(5) {
		r.Header.Set("Authorization", "Bearer "+line(f.word()))
	}
	if f.oneIn(25) {
		r.Header.Add("Authorization", line(f.spoil(r.Header.Get("Authorization"))))
	}
	for f.oneIn(6) {
		r.Header.Add("Accept", pick(f, mediaTypes))
	}
	for f.oneIn(8) {
		value := pick(f, []string{"joe", "elastic", "", "100-continue", f.word()})
		r.Header.Add(pick(f, headers), line(value))
	}
	if r.Header.Get("Expect") != "" {
		r.Header.Set("Expect", "100-continue") // another is refused by net/http
	}
}

// line is a value that a header may have.
func line(value string) string {
	return strings.TrimSpace(strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return -1
		}
		return c
	}, value))
}

// fill adds a body.
func (f *Fuzzer) fill(r *Request) {
	body := Body{MediaType: mediaJSON, Text: "{}"}
	switch {
	case r.Operation != nil && len(r.Operation.Bodies) > 0:
		body = pick(f, r.Operation.Bodies)
	case !f.oneIn(20):
		return // none is expected
	}
	if body.MediaType == mediaJSON {
		body.Text = f.varyJSON(body.Text)
	} else if f.oneIn(2) {
		body.Text += "&" + url.QueryEscape(f.word()) + "=" + url.QueryEscape(f.word())
	}
	switch f.random.IntN(24) {
	case 0, 1:
		body.Text = f.spoil(body.Text)
	case 2:
		body.Text = strings.Repeat(pick(f, []string{"[", `{"a":`, `{"metadata":{"a":[`}), 1+f.random.IntN(2000))
	case 3:
		body.Text += strings.Repeat(" ", f.random.IntN(70_000))
	case 4:
		body.Text = ""
	}
	r.Body = body.Text
	r.Header.Set("Content-Type", body.MediaType)
	if f.oneIn(15) {
		r.Header.Set("Content-Type", pick(f, mediaTypes))
	}
}

// varyJSON changes members of an object.
func (f *Fuzzer) varyJSON(text string) string {
	var members object
	if json.Unmarshal([]byte(text), &members) != nil {
		return text
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		switch f.random.IntN(12) {
		case 0, 1, 2:
			members[name] = f.word()
		case 3:
			delete(members, name)
		case 4:
			members[name] = f.value(3)
		}
	}
	if f.oneIn(15) {
		members[f.word()] = f.value(3)
	}
	varied, err := json.Marshal(members)
	if err != nil {
		return text
	}
	if f.oneIn(30) && len(members) > 0 { // a member twice
		return string(varied[:len(varied)-1]) + "," + string(varied[1:])
	}
	return string(varied)
}

// value is any value of JSON.
func (f *Fuzzer) value(depth int) any {
	kinds := 8
	if depth == 0 {
		kinds = 6
	}
	switch f.random.IntN(kinds) {
	case 0:
		return nil
	case 1:
		return f.oneIn(2)
	case 2:
		return f.random.Int64() - f.random.Int64()
	case 3:
		return f.random.NormFloat64()
	case 4, 5:
		return f.word()
	case 6:
		values := make([]any, f.random.IntN(5))
		for i := range values {
			values[i] = f.value(depth - 1)
		}
		return values
	default:
		values := object{}
		for range f.random.IntN(5) {
			values[f.word()] = f.value(depth - 1)
		}
		return values
	}
}
