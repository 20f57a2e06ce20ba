package httpapi

import (
	"slices"

	"jeton/node/realm"
)

// field is one member of a flat object of strings. One of text and secret is where
// it goes, empty or not; a member that is absent leaves nil there. Or read takes it,
// whatever it is.
type field struct {
	name   string
	text   **string
	secret **realm.Secret
	read   func(value) error
}

// parseFields reads a flat object of strings as Elasticsearch's declared parsers do:
// such a parser has a name, which its errors tell, and refuses members and kinds of
// value that it does not know.
func parseFields(parser string, body []byte, fields []field) error {
	expect := func(at position, kind valueKind) error {
		return contentError(at, "[%s] Expected START_OBJECT but was: %s", parser, kind)
	}
	return readObject(body, expect, func(name string, at position, v value) error {
		i := slices.IndexFunc(fields, func(f field) bool { return f.name == name })
		if i < 0 {
			return contentError(at, "[%s] unknown field [%s]", parser, echo(name))
		}
		if fields[i].read != nil {
			return fields[i].read(v)
		}
		if v.kind != kindString {
			return contentError(v.at, "[%s] %s doesn't support values of type: %s", parser, name, v.kind)
		}
		if target := fields[i].text; target != nil {
			*target = &v.text
		} else {
			secret := realm.NewSecret(v.text)
			*fields[i].secret = &secret
		}
		return nil
	})
}

// expectObject is the error of Elasticsearch's hand-written parsers.
func expectObject(_ position, kind valueKind) error {
	return elementError("expected an object, but found token [%s]", kind)
}

// The following read one member in the manner of the hand-written parsers.

func (v value) asString(name string) (string, error) {
	if v.kind != kindString {
		return "", wrongType(name, "string", v.kind)
	}
	return v.text, nil
}

func (v value) asNullableString(name string) (*string, error) {
	if v.kind == kindNull {
		return nil, nil
	}
	text, err := v.asString(name)
	if err != nil {
		return nil, err
	}
	return &text, nil
}

func (v value) asSecret(name string) (*realm.Secret, error) {
	text, err := v.asString(name)
	if err != nil {
		return nil, err
	}
	secret := realm.NewSecret(text)
	return &secret, nil
}

func (v value) asBoolean(name string) (bool, error) {
	if v.kind != kindBoolean {
		return false, wrongType(name, "boolean", v.kind)
	}
	return v.true, nil
}

func (v value) asObject(name string) ([]byte, error) {
	if v.kind != kindObject {
		return nil, wrongType(name, "object", v.kind)
	}
	return v.compact(), nil
}

func (v value) asStrings(name string) ([]string, error) {
	switch v.kind {
	case kindArray:
		list, odd := v.strings()
		if odd != "" {
			return nil, elementError("could not parse [%s] field. expected a string array but one of the value in the array is [%s]", name, odd)
		}
		return list, nil
	case kindNull:
		return nil, elementError("could not parse [%s] field. expected a string array but found null value instead", name)
	case kindString, kindNumber, kindBoolean, kindObject:
	}
	return nil, elementError("could not parse [%s] field. expected a string array but found [%s] value instead", name, v.kind)
}

func wrongType(name, want string, found valueKind) error {
	return elementError("expected field [%s] to be of type %s, but found [%s] instead", name, want, found)
}
