package httpapi

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// The forms of an answer. Bodies of requests are JSON only.
const (
	mediaYAML = "application/yaml"
	mediaText = "text/plain; charset=UTF-8"
)

// formatError is a format that Elasticsearch has and Jeton has not.
type formatError struct{ format string }

func (e *formatError) Error() string { return "format [" + e.format + "] is not supported" }

// checkForm refuses values of the common parameters that mean nothing.
func (x *exchange) checkForm() error {
	for _, name := range [...]string{"pretty", "human", "error_trace"} {
		if _, err := boolean(x.query, name, false); err != nil {
			return err
		}
	}
	switch format := strings.ToLower(x.query.Get("format")); format {
	case "cbor", "smile":
		return &formatError{format: format}
	}
	_, err := parseFilter(x.query.Get("filter_path"))
	return err
}

// flagged tells whether a common parameter is true. A value that is neither true nor
// false has been refused before, or is part of another error.
func (x *exchange) flagged(name string, absent bool) bool {
	if x.query == nil {
		return absent
	}
	set, _ := boolean(x.query, name, absent)
	return set
}

// mediaType is the answer's: the parameter format goes before what was negotiated. As
// in Elasticsearch, a format that nobody knows is no format.
func (x *exchange) mediaType(negotiated string) string {
	if x.query == nil {
		return negotiated
	}
	switch strings.ToLower(x.query.Get("format")) {
	case "json":
		return mediaJSON
	case "yaml":
		return mediaYAML
	default:
		return negotiated
	}
}

// cut applies the parameter filter_path.
func (x *exchange) cut(body []byte) []byte {
	text := x.query.Get("filter_path")
	if text == "" || len(body) == 0 {
		return body
	}
	filter, err := parseFilter(text)
	if err != nil {
		return body // not reached: it has been read before
	}
	return filter.apply(nil, body)
}

// appendYAML renders an answer, which is JSON of ours, as Elasticsearch renders YAML:
// the members in their order, strings in double quotes.
func appendYAML(dst, body []byte) ([]byte, error) {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	root, err := yamlNode(decoder)
	if err != nil {
		return nil, err
	}
	out := bytes.NewBuffer(append(dst, "---\n"...))
	encoder := yaml.NewEncoder(out)
	encoder.SetIndent(2) //nolint:mnd // spaces, as Elasticsearch
	if err := encoder.Encode(root); err != nil {
		return nil, err //nolint:wrapcheck // a bug, which is logged as such
	}
	return out.Bytes(), encoder.Close()
}

// yamlNode reads one value.
func yamlNode(decoder *json.Decoder) (*yaml.Node, error) {
	token, err := decoder.Token()
	if err != nil {
		return nil, err //nolint:wrapcheck // a bug, which is logged as such
	}
	switch t := token.(type) {
	case json.Delim:
		return yamlContainer(decoder, t)
	case string:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: t, Style: yaml.DoubleQuotedStyle}, nil
	case json.Number:
		return &yaml.Node{Kind: yaml.ScalarNode, Value: t.String()}, nil
	case bool:
		return &yaml.Node{Kind: yaml.ScalarNode, Value: strconv.FormatBool(t)}, nil
	default:
		return &yaml.Node{Kind: yaml.ScalarNode, Value: "null"}, nil
	}
}

// yamlContainer reads an object or array up to its end.
func yamlContainer(decoder *json.Decoder, opening json.Delim) (*yaml.Node, error) {
	node := &yaml.Node{Kind: yaml.SequenceNode}
	if opening == '{' {
		node.Kind = yaml.MappingNode
	}
	for decoder.More() {
		child, err := yamlNode(decoder)
		if err != nil {
			return nil, err
		}
		if isName := node.Kind == yaml.MappingNode && len(node.Content)%2 == 0; isName {
			if err := child.Encode(child.Value); err != nil { // with quotes only where it needs them
				return nil, err //nolint:wrapcheck // a bug, which is logged as such
			}
		}
		node.Content = append(node.Content, child)
	}
	if len(node.Content) == 0 {
		node.Style = yaml.FlowStyle
	}
	_, err := decoder.Token() // the closing one
	return node, err          //nolint:wrapcheck // as above
}

// layOut renders compact JSON in the form that was asked for.
func layOut(body []byte, mediaType string, pretty bool) []byte {
	switch {
	case len(body) == 0:
		return body
	case mediaType == mediaYAML:
		rendered, err := appendYAML(nil, body)
		if err != nil {
			return body // not reached: all our bodies are well-formed, and JSON is YAML
		}
		return rendered
	case pretty:
		return appendPretty(nil, body)
	default:
		return body
	}
}

func replyForFormat(e *formatError) reply {
	return reply{status: http.StatusNotAcceptable, shape: simpleShape, reason: e.Error()}
}
