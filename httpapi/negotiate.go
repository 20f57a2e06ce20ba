package httpapi

import (
	"net/http"
	"strconv"
	"strings"
)

// The media types of this API. The vendor type carries the major version of the
// client's API; clients of every major listed here are served alike.
const (
	mediaJSON     = "application/json"
	mediaVendor   = "application/vnd.elasticsearch+json"
	paramVersion  = "compatible-with"
	oldestVersion = 7
	newestVersion = 9
)

// mediaTypeError is a media type whose version nobody speaks.
type mediaTypeError struct {
	header string // "Accept" or "Content-Type"
	value  string
}

func (e *mediaTypeError) Error() string { return "media type of header " + e.header }

// contentTypeError is a body of a type that is not JSON, or of none.
type contentTypeError struct{ value string }

func (e *contentTypeError) Error() string { return "content type not supported" }

// checkContentType accepts the types of a body that is there: JSON and its vendor
// form, with any parameters. Forms and plain text are refused with the rest: a
// browser sends them across origins without asking (CSRF).
func checkContentType(header http.Header) error {
	value := header.Get("Content-Type")
	if value == mediaJSON { // nearly always
		return nil
	}
	kind, parameters := splitMediaType(value)
	switch {
	case kind == mediaJSON:
		return nil
	case kind != mediaVendor:
		return &contentTypeError{value: value}
	}
	if _, ok := compatibleWith(parameters); !ok {
		return &mediaTypeError{header: "Content-Type", value: value}
	}
	return nil
}

// answerType chooses the answer's Content-Type: the first that the client
// accepts of the vendor type, with its version, and plain JSON and YAML; else plain
// JSON, which every client takes.
func answerType(header http.Header) (string, error) {
	accept := header["Accept"]
	if len(accept) == 0 || accept[0] == "*/*" || accept[0] == mediaJSON {
		return mediaJSON, nil
	}
	for one := range strings.SplitSeq(accept[0], ",") {
		kind, parameters := splitMediaType(one)
		switch kind {
		case mediaVendor:
		case mediaJSON:
			return mediaJSON, nil
		case mediaYAML:
			return mediaYAML, nil
		default:
			continue
		}
		version, ok := compatibleWith(parameters)
		if !ok {
			return mediaJSON, &mediaTypeError{header: "Accept", value: accept[0]}
		}
		if version == 0 {
			return mediaVendor, nil
		}
		return mediaVendor + ";" + paramVersion + "=" + strconv.Itoa(version), nil
	}
	return mediaJSON, nil
}

func splitMediaType(value string) (kind, parameters string) {
	kind, parameters, _ = strings.Cut(value, ";")
	return strings.ToLower(strings.TrimSpace(kind)), parameters
}

// compatibleWith finds the version among parameters, with or without white space
// around it; without the parameter it is 0.
func compatibleWith(parameters string) (version int, ok bool) {
	for one := range strings.SplitSeq(parameters, ";") {
		name, text, _ := strings.Cut(strings.TrimSpace(one), "=")
		if !strings.EqualFold(strings.TrimSpace(name), paramVersion) {
			continue
		}
		version, err := strconv.Atoi(strings.TrimSpace(text))
		return version, err == nil && version >= oldestVersion && version <= newestVersion
	}
	return 0, true
}
