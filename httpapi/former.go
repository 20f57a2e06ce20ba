package httpapi

import (
	"bytes"
	"net/http"
	"strings"
)

// formerPaths are what paths began with in Elasticsearch 5 and 6, and what they begin
// with since.
var formerPaths = [...]struct{ former, present string }{
	{"/_xpack/security", "/_security"},
	{"/_xpack/license", "/_license"},
}

// former returns the methods of a path as they are served there: at a former one with
// a warning, which clients log, and with the members that only clients of Elasticsearch
// 5 and 6 read.
func former(template string, m methods) methods {
	for _, paths := range formerPaths {
		rest, found := strings.CutPrefix(template, paths.former)
		if !found || rest != "" && rest[0] != '/' {
			continue
		}
		warned := make(methods, len(m))
		for method, op := range m {
			op.warning = []string{deprecation(method, template, paths.present+rest)}
			op.former = formerShapes[method+" "+rest]
			warned[method] = op
		}
		return warned
	}
	return m
}

// deprecation is the value of a Warning header (RFC 7234, 5.5.1) in the form that
// Elasticsearch's clients parse. In place of the build's hash is the word that they
// know for none.
func deprecation(method, template, instead string) string {
	return `299 Elasticsearch-` + elasticsearchVersion + `-unknown "[` + method + ` ` + template +
		`] is deprecated! Use [` + method + ` ` + instead + `] instead."`
}

// formerShapes turn an answer into what it was before version 7.
var formerShapes = map[string]func(body []byte) []byte{
	http.MethodDelete + " /oauth2/token":  formerInvalidation,
	http.MethodPut + " /user/{username}":  formerPutUser,
	http.MethodPost + " /user/{username}": formerPutUser,
}

// formerInvalidation adds the member created, which had the counts beside it in 6.6 to
// 6.8 and was alone before: whether a token was invalidated by this request.
func formerInvalidation(body []byte) []byte {
	created := `{"created":true,`
	if bytes.HasPrefix(body, []byte(`{"invalidated_tokens":0,`)) {
		created = `{"created":false,`
	}
	return append([]byte(created), body[1:]...)
}

// formerPutUser has the answer both ways, as in 6.5 to 6.8: {"user":{...},...}.
func formerPutUser(body []byte) []byte {
	both := append([]byte(`{"user":`), body...)
	return append(append(both, ','), body[1:]...)
}
