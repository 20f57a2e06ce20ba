package httpapi

import (
	"jeton/node/realm"
)

// objectParser is a strict parser of one flat object of strings, as Elasticsearch
// declares them: it names itself in its errors and refuses members, and kinds of
// value, that it does not know.
type objectParser struct {
	name   string
	fields map[string]func(text string)
}

func (p objectParser) parse(body []byte) error {
	expect := func(at position, kind valueKind) error {
		return contentError(at, "[%s] Expected START_OBJECT but was: %s", p.name, kind)
	}
	return readObject(body, expect, func(name string, at position, v value) error {
		set, known := p.fields[name]
		if !known {
			return contentError(at, "[%s] unknown field [%s]", p.name, echo(name))
		}
		if v.kind != kindString {
			return contentError(v.at, "[%s] %s doesn't support values of type: %s", p.name, name, v.kind)
		}
		set(v.text)
		return nil
	})
}

// expectObject is the error of Elasticsearch's hand-written parsers.
func expectObject(_ position, kind valueKind) error {
	return elementError("expected an object, but found token [%s]", kind)
}

// setText and setSecret remember that a member was there, empty or not.
func setText(target **string) func(string) {
	return func(text string) { *target = &text }
}

func setSecret(target **realm.Secret) func(string) {
	return func(text string) {
		secret := realm.NewSecret(text)
		*target = &secret
	}
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
