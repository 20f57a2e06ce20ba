package apitest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// response is what one status of an operation comes with.
type response struct {
	headers map[string]header
	content map[string]*jsonschema.Schema // by media type; none: no body
}

type header struct {
	schema   *jsonschema.Schema
	required bool
}

// Find returns the operation that serves a path, given without its query. Paths
// without parameters win, as in the server.
func (a *API) Find(method, path string) (*Operation, bool) {
	var found *Operation
	for i := range a.Operations {
		o := &a.Operations[i]
		if o.Method != method || !matches(o.Path, path) {
			continue
		}
		if found == nil || a.fixed[o.Path] {
			found = o
		}
	}
	return found, found != nil
}

func matches(template, path string) bool {
	want, got := strings.Split(template, "/"), strings.Split(path, "/")
	if len(want) != len(got) {
		return false
	}
	for i := range want {
		if !strings.HasPrefix(want[i], "{") && want[i] != got[i] {
			return false
		}
	}
	return true
}

// CheckRequest tells why a body is not what the operation asks for.
func (o *Operation) CheckRequest(mediaType string, body []byte) error {
	schema, ok := o.bodies[mediaType]
	if !ok {
		return fmt.Errorf("no body of type %q is described", mediaType)
	}
	if mediaType == mediaForm {
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return err
		}
		members := object{}
		for name, values := range form {
			members[name] = values[0]
		}
		return schema.Validate(members)
	}
	return validate(schema, body)
}

// CheckAnswer tells why an answer is none of those described.
func (o *Operation) CheckAnswer(status int, header http.Header, body []byte) error {
	described, ok := o.responses[status]
	if !ok {
		return fmt.Errorf("status %d is not described", status)
	}
	return described.check(o.Method, header, body)
}

// ErrServer is an answer by which the server says that it failed.
var ErrServer = errors.New("a 5xx")

// Check tells why an answer should never have been given: it is a 5xx ([ErrServer]), does
// not say which product it comes from, is not of the form that it says, or is not described.
func (r *Request) Check(status int, header http.Header, body []byte) error {
	if status >= http.StatusInternalServerError {
		return fmt.Errorf("%w: %d", ErrServer, status)
	}
	if header.Get("X-Elastic-Product") != "Elasticsearch" {
		return errors.New("no X-elastic-product")
	}
	mediaType := header.Get("Content-Type")
	if strings.Contains(mediaType, "json") && len(body) > 0 && !json.Valid(body) {
		return errors.New("no JSON")
	}
	if strings.Contains(mediaType, "yaml") {
		if _, err := decode(body); err != nil {
			return fmt.Errorf("no YAML: %w", err)
		}
	}
	if r.Operation == nil || strings.Contains(r.Target, "filter_path") {
		return nil // it may be anything of what is described
	}
	return r.Operation.CheckAnswer(status, header, body)
}

// CheckError tells why an answer is not the error described in a component of that
// name. It is for what has no operation: 404 and 405 of the router.
func (a *API) CheckError(component string, header http.Header, body []byte) error {
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource(resource, a.document); err != nil {
		return err
	}
	schema, err := compile(compiler, []string{"components", "schemas", component})
	if err != nil {
		return err
	}
	if header.Get("X-Elastic-Product") == "" {
		return errors.New("no X-elastic-product")
	}
	return validate(schema, body)
}

func (r *response) check(method string, header http.Header, body []byte) error {
	if err := r.checkHeaders(header); err != nil {
		return err
	}
	if method == http.MethodHead || len(r.content) == 0 {
		if len(body) > 0 {
			return fmt.Errorf("a body where there is none: %.100s", body)
		}
		return nil
	}
	mediaType, _, err := mime.ParseMediaType(header.Get("Content-Type"))
	if err != nil {
		return fmt.Errorf("Content-Type %q: %w", header.Get("Content-Type"), err)
	}
	switch mediaType {
	case mediaVendor:
		mediaType = mediaJSON
	case mediaYAML: // the same in another form
		value, err := decode(body)
		if schema, ok := r.content[mediaJSON]; ok && err == nil {
			return schema.Validate(value)
		}
	}
	schema, ok := r.content[mediaType]
	switch {
	case !ok:
		return fmt.Errorf("no body of type %q is described", mediaType)
	case mediaType != mediaJSON:
		return schema.Validate(string(body))
	}
	return validate(schema, body)
}

func (r *response) checkHeaders(header http.Header) error {
	for name, described := range r.headers {
		lines := header.Values(name)
		if len(lines) == 0 && described.required {
			return fmt.Errorf("header %s is missing", name)
		}
		for _, line := range lines {
			if err := described.schema.Validate(line); err != nil {
				return fmt.Errorf("header %s: %w", name, err)
			}
		}
	}
	return nil
}

func validate(schema *jsonschema.Schema, body []byte) error {
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%w: %.200s", err, body)
	}
	if err := schema.Validate(value); err != nil {
		return fmt.Errorf("%w\nin %.400s", err, body)
	}
	return nil
}
