package httpapi

import (
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"jeton/node/realm"
)

const mediaForm = "application/x-www-form-urlencoded"

// oauth2Request is what the body of an OAuth 2.0 request says. A parameter without a
// value is as good as omitted, and one that nobody here knows is ignored (RFC 6749,
// 3.2). Of token_type_hint (RFC 7009, 2.1) nothing is needed: a token tells its kind.
type oauth2Request struct {
	clientID     string
	clientSecret realm.Secret
	grantType    string
	scope        string
	username     string
	password     realm.Secret
	refreshToken realm.Secret
	token        realm.Secret
}

// parameter is where the value of a parameter goes; both are nil if it is unknown.
func (q *oauth2Request) parameter(name string) (text *string, secret *realm.Secret) {
	switch name {
	case "client_id":
		return &q.clientID, nil
	case "client_secret":
		return nil, &q.clientSecret
	case "grant_type":
		return &q.grantType, nil
	case "scope":
		return &q.scope, nil
	case "username":
		return &q.username, nil
	case "password":
		return nil, &q.password
	case "refresh_token":
		return nil, &q.refreshToken
	case "token":
		return nil, &q.token
	default:
		return nil, nil
	}
}

func (q *oauth2Request) knows(name string) bool {
	text, secret := q.parameter(name)
	return text != nil || secret != nil
}

// set stores a parameter. RFC 6749, 3.2: it must not be there more than once.
func (q *oauth2Request) set(name, value string) error {
	text, secret := q.parameter(name)
	switch {
	case text == nil && secret == nil, value == "":
	case !utf8.ValidString(value):
		return invalidRequest("the parameter " + name + " is not UTF-8")
	case text != nil && *text == "":
		*text = value
	case secret != nil && secret.IsZero():
		*secret = realm.NewSecret(value)
	default:
		return invalidRequest("the parameter " + name + " is given more than once")
	}
	return nil
}

// read reads a body of either type; an empty one has no parameters.
func (q *oauth2Request) read(header http.Header, body []byte) error {
	if len(body) == 0 {
		return nil
	}
	form, err := isForm(header)
	switch {
	case err != nil:
		return err
	case form:
		return q.readForm(string(body))
	default:
		return q.readJSON(body)
	}
}

// readForm reads RFC 6749, appendix B.
func (q *oauth2Request) readForm(body string) error {
	for pair := range strings.SplitSeq(body, "&") {
		encodedName, encodedValue, _ := strings.Cut(pair, "=")
		name, nameErr := url.QueryUnescape(encodedName)
		value, valueErr := url.QueryUnescape(encodedValue)
		if nameErr != nil || valueErr != nil {
			return invalidRequest("the body is not " + mediaForm)
		}
		if err := q.set(name, value); err != nil {
			return err
		}
	}
	return nil
}

// readJSON reads the same parameters as members of an object. Unlike
// Elasticsearch's endpoint it ignores members that it does not know.
func (q *oauth2Request) readJSON(body []byte) error {
	return readObject(body, expectObject, func(name string, _ position, v value) error {
		switch {
		case !q.knows(name), v.kind == kindNull:
			return nil
		case v.kind != kindString:
			return invalidRequest("the parameter " + name + " is not a string")
		default:
			return q.set(name, v.text)
		}
	})
}

// isForm tells which of the two media types a body has.
func isForm(header http.Header) (bool, error) {
	switch kind, _ := splitMediaType(header.Get("Content-Type")); kind {
	case mediaForm:
		return true, nil
	case mediaJSON, mediaVendor:
		return false, nil
	default:
		return false, invalidRequest("the body must be " + mediaForm + " or " + mediaJSON)
	}
}

// checkOAuth2Query refuses parameters in the URL, where they end up in the logs of
// every proxy (RFC 6749, 2.3.1). What is no parameter of OAuth 2.0's is not looked at.
func checkOAuth2Query(query url.Values) error {
	var q oauth2Request
	for name := range query {
		if q.knows(name) {
			return invalidRequest("the parameter " + name + " belongs in the body, not in the URL")
		}
	}
	return nil
}

func invalidRequest(description string) error {
	return &grantError{code: codeInvalidRequest, description: description}
}
