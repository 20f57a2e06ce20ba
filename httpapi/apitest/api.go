// Package apitest reads the description of the API, docs/openapi.yaml, for tests:
// what is served, whether an answer is one of those described, and requests that are
// nearly right. It is for tests of every package; nothing of it is in the binary.
package apitest

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

// metaSchema is the OpenAPI Initiative's own description of a description
// (spec.openapis.org/oas/3.1/schema, Apache-2.0).
//
//go:embed testdata/openapi-3.1.json
var metaSchema string

// API is the description. It does not change; safe for concurrent use.
type API struct {
	// Operations are sorted by path and method.
	Operations []Operation

	document object
	fixed    map[string]bool // paths without parameters
}

// Operation is one method of one path.
type Operation struct {
	Method string
	Path   string // a template: /_security/user/{username}
	// Open operations need no credentials.
	Open bool
	// Query are the names of its own parameters; those of all are [Common].
	Query []string
	// Bodies are examples of what the operation accepts; none: it takes no body.
	Bodies []Body
	// Statuses are sorted.
	Statuses []int

	responses map[int]*response
	bodies    map[string]*jsonschema.Schema // of the request, by media type
}

// Common lists the query's parameters that every operation takes.
func Common() []string { return []string{"pretty", "human", "error_trace", "filter_path", "format"} }

// Body is a request's body.
type Body struct{ MediaType, Text string }

// String is the method and the path.
func (o *Operation) String() string { return o.Method + " " + o.Path }

// object is a part of the document.
type object = map[string]any

// Load reads a description. It fails if it is no OpenAPI 3.1, if one of its schemas is
// no JSON Schema, or if an example is not what its schema asks for.
func Load(file string) (*API, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	tree, err := decode(content)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	document, _ := tree.(object)
	if err := checkDocument(tree); err != nil {
		return nil, fmt.Errorf("%s is no OpenAPI 3.1: %w", file, err)
	}
	closeObjects(document)
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource(resource, document); err != nil {
		return nil, err
	}
	a := &API{document: document, fixed: map[string]bool{}}
	paths := a.at(document, "paths")
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		if !strings.Contains(path, "{") {
			a.fixed[path] = true
		}
		if err := a.addPath(compiler, path, a.at(paths, path)); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	return a, nil
}

const resource = "openapi.json"

// decode turns YAML into what package encoding/json would have made of it.
func decode(content []byte) (any, error) {
	var tree any
	if err := yaml.Unmarshal(content, &tree); err != nil {
		return nil, err
	}
	text, err := json.Marshal(tree)
	if err != nil {
		return nil, err
	}
	return jsonschema.UnmarshalJSON(bytes.NewReader(text))
}

func checkDocument(document any) error {
	meta, err := jsonschema.UnmarshalJSON(strings.NewReader(metaSchema))
	if err != nil {
		return err
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("oas", meta); err != nil {
		return err
	}
	schema, err := compiler.Compile("oas")
	if err != nil {
		return err
	}
	return schema.Validate(document)
}

// closeObjects makes members that are not described wrong ones, unless the schema
// speaks of them. A published description leaves objects open, so that clients bear
// with new members; a check must not.
func closeObjects(node any) {
	switch node := node.(type) {
	case object:
		_, described := node["properties"].(object)
		_, spoken := node["additionalProperties"]
		if described && !spoken && node["type"] == "object" {
			node["additionalProperties"] = false
		}
		for _, child := range node {
			closeObjects(child)
		}
	case []any:
		for _, child := range node {
			closeObjects(child)
		}
	}
}

// resolve follows references. What is not there is a nil object, which has no members.
func (a *API) resolve(node any) (object, []string) {
	var pointer []string
	for {
		o, _ := node.(object)
		ref, ok := o["$ref"].(string)
		if !ok {
			return o, pointer
		}
		pointer = nil
		node = a.document
		for step := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
			step, _ = url.PathUnescape(step)
			step = strings.NewReplacer("~1", "/", "~0", "~").Replace(step)
			pointer = append(pointer, step)
			parent, _ := node.(object)
			node = parent[step]
		}
	}
}

// at is a member that is an object.
func (a *API) at(o object, name string) object {
	member, _ := a.resolve(o[name])
	return member
}

func list[T any](v any) (out []T) {
	elements, _ := v.([]any)
	for _, element := range elements {
		if e, ok := element.(T); ok {
			out = append(out, e)
		}
	}
	return out
}

// methods in the order in which they are listed.
var methods = []string{
	http.MethodDelete, http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPatch, http.MethodPost, http.MethodPut,
}

func (a *API) addPath(compiler *jsonschema.Compiler, path string, item object) error {
	shared := list[object](item["parameters"])
	_, pointer := a.resolve(a.at(a.document, "paths")[path])
	if pointer == nil {
		pointer = []string{"paths", path}
	}
	for _, method := range methods {
		raw, ok := item[strings.ToLower(method)].(object)
		if !ok {
			continue
		}
		o := Operation{Method: method, Path: path, responses: map[int]*response{}, bodies: map[string]*jsonschema.Schema{}}
		if security, ok := raw["security"].([]any); ok && len(security) == 0 {
			o.Open = true
		}
		for _, parameter := range append(shared, list[object](raw["parameters"])...) {
			if p, _ := a.resolve(parameter); p["in"] == "query" {
				o.Query = append(o.Query, fmt.Sprint(p["name"]))
			}
		}
		here := append(slices.Clone(pointer), strings.ToLower(method))
		if err := a.addBodies(compiler, &o, raw, here); err != nil {
			return fmt.Errorf("%s: %w", method, err)
		}
		if err := a.addResponses(compiler, &o, raw, here); err != nil {
			return fmt.Errorf("%s: %w", method, err)
		}
		a.Operations = append(a.Operations, o)
	}
	return nil
}

func (a *API) addBodies(compiler *jsonschema.Compiler, o *Operation, raw object, here []string) error {
	content, pointer := a.content(raw["requestBody"], append(here, "requestBody"))
	for _, mediaType := range slices.Sorted(maps.Keys(content)) {
		schema, err := compile(compiler, pointer, mediaType)
		if err != nil {
			return err
		}
		o.bodies[mediaType] = schema
		media := a.at(content, mediaType)
		examples := a.at(media, "examples")
		if len(examples) == 0 {
			return fmt.Errorf("no examples of %s", mediaType)
		}
		for _, name := range slices.Sorted(maps.Keys(examples)) {
			value := a.at(examples, name)["value"]
			if err := schema.Validate(value); err != nil {
				return fmt.Errorf("example %s: %w", name, err)
			}
			text, err := encode(mediaType, value)
			if err != nil {
				return err
			}
			o.Bodies = append(o.Bodies, Body{mediaType, text})
		}
	}
	return nil
}

// encode writes an example as its media type asks for.
func encode(mediaType string, value any) (string, error) {
	if members, ok := value.(object); ok && mediaType == mediaForm {
		form := url.Values{}
		for name, member := range members {
			form.Set(name, fmt.Sprint(member))
		}
		return form.Encode(), nil
	}
	text, err := json.Marshal(value)
	return string(text), err
}

const (
	mediaJSON   = "application/json"
	mediaVendor = "application/vnd.elasticsearch+json"
	mediaYAML   = "application/yaml"
	mediaForm   = "application/x-www-form-urlencoded"
)

func (a *API) addResponses(compiler *jsonschema.Compiler, o *Operation, raw object, here []string) error {
	responses, _ := raw["responses"].(object)
	for code, node := range responses {
		status, err := strconv.Atoi(code)
		if err != nil {
			return errors.New("status " + code)
		}
		described, _ := a.resolve(node)
		r := &response{headers: map[string]header{}, content: map[string]*jsonschema.Schema{}}
		content, pointer := a.content(node, append(slices.Clone(here), "responses", code))
		for mediaType := range content {
			if r.content[mediaType], err = compile(compiler, pointer, mediaType); err != nil {
				return err
			}
		}
		if err := a.addHeaders(compiler, r, described); err != nil {
			return err
		}
		o.responses[status] = r
		o.Statuses = append(o.Statuses, status)
	}
	slices.Sort(o.Statuses)
	return nil
}

func (a *API) addHeaders(compiler *jsonschema.Compiler, r *response, described object) error {
	headers := a.at(described, "headers")
	for name, node := range headers {
		h, pointer := a.resolve(node)
		if pointer == nil {
			return fmt.Errorf("header %s is described in place, not in components", name)
		}
		schema, err := compile(compiler, append(pointer, "schema"))
		if err != nil {
			return err
		}
		required, _ := h["required"].(bool)
		r.headers[http.CanonicalHeaderKey(name)] = header{schema, required}
	}
	return nil
}

// content is the member of that name of a body or a response, and where it is.
func (a *API) content(node any, here []string) (object, []string) {
	described, pointer := a.resolve(node)
	if pointer == nil {
		pointer = here
	}
	return a.at(described, "content"), append(pointer, "content")
}

// compile compiles the schema of a media type, or the one at the pointer.
func compile(compiler *jsonschema.Compiler, pointer []string, mediaType ...string) (*jsonschema.Schema, error) {
	if len(mediaType) > 0 {
		pointer = append(slices.Clone(pointer), mediaType[0], "schema")
	}
	var path strings.Builder
	for _, step := range pointer {
		path.WriteString("/" + url.PathEscape(strings.NewReplacer("~", "~0", "/", "~1").Replace(step)))
	}
	return compiler.Compile(resource + "#" + path.String())
}
