package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// Limits of one JSON body. Its length is limited before ([Limits.BodyBytes]).
const (
	maxNesting     = 32  // levels; Elasticsearch's parser stops at 1,000
	maxMembers     = 256 // of one object: the check for duplicates is quadratic
	maxEchoedBytes = 256 // of a client's own text in an error
)

// valueKind is a JSON value's kind under the name that Elasticsearch's parser
// gives its token: error texts contain it.
type valueKind string

const (
	kindString  valueKind = "VALUE_STRING"
	kindNumber  valueKind = "VALUE_NUMBER"
	kindBoolean valueKind = "VALUE_BOOLEAN"
	kindNull    valueKind = "VALUE_NULL"
	kindObject  valueKind = "START_OBJECT"
	kindArray   valueKind = "START_ARRAY"
)

// value is one member's value. Text holds a string's content, true is a boolean's,
// raw the bytes as the client sent them.
type value struct {
	kind valueKind
	text string
	true bool
	raw  []byte
	at   position
}

// position is where a token starts, both from 1, columns in bytes.
type position struct{ line, column int }

// parseError is a body that cannot be read. Its text never repeats a value of the
// body, only names of members (CVE-2021-22145 was a parser that quoted its buffer).
type parseError struct {
	kind   string // Elasticsearch's name of the exception
	reason string
}

func (e *parseError) Error() string { return e.kind + ": " + e.reason }

// contentError is a parseError of Elasticsearch's own parser, which tells where.
func contentError(at position, format string, arguments ...any) error {
	return &parseError{
		kind:   "x_content_parse_exception",
		reason: fmt.Sprintf("[%d:%d] ", at.line, at.column) + fmt.Sprintf(format, arguments...),
	}
}

// elementError is a parseError of Elasticsearch's hand-written parsers.
func elementError(format string, arguments ...any) error {
	return &parseError{kind: "parse_exception", reason: fmt.Sprintf(format, arguments...)}
}

// reader reads one JSON text strictly: no duplicate members, no deep nesting, no
// second value, no bytes that are not UTF-8.
type reader struct {
	body []byte
	dec  *json.Decoder
	at   position // start of the last token
	seen int      // bytes that position has been computed for
	line position // position of byte seen
}

func newReader(body []byte) *reader {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	return &reader{body: body, dec: dec, line: position{1, 1}}
}

// readObject calls each for every member of the one object that the body must be.
// Expect makes the error for a body that is some other value.
func readObject(body []byte, expect func(position, valueKind) error, each func(name string, at position, v value) error) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return elementError("request body is required")
	}
	if !utf8.Valid(body) {
		return contentError(position{1, 1}, "Invalid UTF-8 in the request body")
	}
	r := newReader(body)
	token, err := r.next()
	if err != nil {
		return err
	}
	if token != json.Delim('{') {
		return expect(r.at, kindOf(token))
	}
	if err := r.members(1, each); err != nil {
		return err
	}
	r.locate()
	if _, err := r.dec.Token(); !errors.Is(err, io.EOF) {
		return contentError(r.at, "Unexpected data after the end of the object")
	}
	return nil
}

// members reads up to the end of the object whose start has been read, and calls
// each, if there is one, for every member. Depth is the object's own level.
func (r *reader) members(depth int, each func(name string, at position, v value) error) error {
	names := make([]string, 0, 8) // on the stack, for the usual object
	for {
		token, err := r.next()
		if err != nil || token == json.Delim('}') {
			return err
		}
		name, _ := token.(string)
		at := r.at
		if slices.Contains(names, name) {
			return contentError(at, "Duplicate field '%s'", echo(name))
		}
		if names = append(names, name); len(names) > maxMembers {
			return contentError(at, "Number of fields exceeds the maximum allowed (%d)", maxMembers)
		}
		v, err := r.value(depth + 1)
		if err != nil {
			return err
		}
		if each == nil {
			continue
		}
		if err := each(name, at, v); err != nil {
			return err
		}
	}
}

// value reads one value; depth is its own level if it is a container.
func (r *reader) value(depth int) (value, error) {
	token, err := r.next()
	if err != nil {
		return value{}, err
	}
	v := value{kind: kindOf(token), at: r.at}
	start := r.seen
	switch t := token.(type) {
	case string:
		v.text = t
	case bool:
		v.true = t
	case json.Delim:
		if depth > maxNesting {
			return value{}, contentError(r.at, "Document nesting depth (%d) exceeds the maximum allowed (%d)", depth, maxNesting)
		}
		if err := r.skip(t, depth); err != nil {
			return value{}, err
		}
	}
	v.raw = r.body[start:r.dec.InputOffset()]
	return v, nil
}

// skip reads a container to its end, as strictly as the rest.
func (r *reader) skip(open json.Delim, depth int) error {
	if open == '{' {
		return r.members(depth, nil)
	}
	for r.dec.More() {
		if _, err := r.value(depth + 1); err != nil {
			return err
		}
	}
	_, err := r.next()
	return err
}

// next reads a token and notes where it starts.
func (r *reader) next() (json.Token, error) {
	r.locate()
	token, err := r.dec.Token()
	switch {
	case err == nil:
		return token, nil
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, contentError(r.at, "Unexpected end-of-input")
	default:
		return nil, contentError(r.at, "Malformed JSON")
	}
}

// locate sets at (and seen) to the start of the token that comes next.
func (r *reader) locate() {
	start := int(r.dec.InputOffset())
	for start < len(r.body) && strings.IndexByte(" \t\r\n,:", r.body[start]) >= 0 {
		start++
	}
	for ; r.seen < start; r.seen++ {
		r.line.column++
		if r.body[r.seen] == '\n' {
			r.line = position{r.line.line + 1, 1}
		}
	}
	r.at = r.line
}

func kindOf(token json.Token) valueKind {
	switch t := token.(type) {
	case string:
		return kindString
	case json.Number:
		return kindNumber
	case bool:
		return kindBoolean
	case json.Delim:
		if t == '{' {
			return kindObject
		}
		return kindArray
	default:
		return kindNull
	}
}

// strings returns the elements of an array of strings, and the kind of the first
// element that is none.
func (v value) strings() (list []string, odd valueKind) {
	r := newReader(v.raw)
	_, _ = r.next() // the bracket; the text has been read once and is well-formed
	list = []string{}
	for r.dec.More() {
		element, err := r.value(1)
		if err != nil || element.kind != kindString {
			return nil, element.kind
		}
		list = append(list, element.text)
	}
	return list, ""
}

// compact returns the value without white space.
func (v value) compact() []byte {
	var b bytes.Buffer
	if err := json.Compact(&b, v.raw); err != nil {
		return nil // not reached: the text has been read once and is well-formed
	}
	return b.Bytes()
}

// echo is a client's own text as an error may repeat it.
func echo(s string) string {
	if len(s) <= maxEchoedBytes {
		return s
	}
	cut := maxEchoedBytes
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "..."
}
