package httpapi

import "strconv"

// shape is one of the three forms of an error's body.
type shape int

const (
	elasticShape shape = iota // {"error":{"root_cause":[...],...},"status":n}
	oauthShape                // {"error":code,"error_description":text}, RFC 6749, 5.2
	simpleShape               // {"error":text,"status":n}
)

// reply is an error as the client sees it.
type reply struct {
	status     int
	shape      shape
	kind       string // the exception's name, or the code of RFC 6749
	reason     string
	detail     detail
	cause      cause
	challenges []string // WWW-Authenticate, one header line each
	retry      bool     // Retry-After
	trace      bool     // with stack_trace
}

// detail is an exception's metadata; cause what it was caused by. Zero: none.
type (
	detail struct{ name, value string }
	cause  struct{ kind, reason string }
)

// append appends the body as compact JSON.
func (p *reply) append(dst []byte) []byte {
	switch p.shape {
	case oauthShape:
		dst = append(dst, `{"error":`...)
		dst = appendString(dst, p.kind)
		dst = append(dst, `,"error_description":`...)
		dst = appendString(dst, p.reason)
		return append(dst, '}')
	case simpleShape:
		dst = append(dst, `{"error":`...)
		dst = appendString(dst, p.reason)
	case elasticShape:
		dst = append(dst, `{"error":{"root_cause":[{`...)
		dst = p.appendException(dst, false)
		dst = append(dst, `}],`...)
		dst = p.appendException(dst, true)
		dst = append(dst, '}')
	}
	dst = append(dst, `,"status":`...)
	dst = strconv.AppendInt(dst, int64(p.status), 10)
	return append(dst, '}')
}

// appendException appends the members of one exception.
func (p *reply) appendException(dst []byte, withCause bool) []byte {
	dst = append(dst, `"type":`...)
	dst = appendString(dst, p.kind)
	dst = append(dst, `,"reason":`...)
	dst = appendString(dst, p.reason)
	if p.detail.name != "" {
		dst = append(dst, ',')
		dst = appendString(dst, p.detail.name)
		dst = append(dst, ':')
		dst = appendString(dst, p.detail.value)
	}
	if withCause && p.cause.kind != "" {
		dst = append(dst, `,"caused_by":{"type":`...)
		dst = appendString(dst, p.cause.kind)
		dst = append(dst, `,"reason":`...)
		dst = appendString(dst, p.cause.reason)
		dst = append(dst, '}')
	}
	switch len(p.challenges) {
	case 0:
	case 1:
		dst = append(dst, `,"header":{"WWW-Authenticate":`...)
		dst = appendString(dst, p.challenges[0])
		dst = append(dst, '}')
	default:
		dst = append(dst, `,"header":{"WWW-Authenticate":`...)
		dst = appendStrings(dst, p.challenges)
		dst = append(dst, '}')
	}
	if p.trace {
		dst = append(dst, `,"stack_trace":`...)
		dst = appendString(dst, p.stackTrace(withCause))
	}
	return dst
}

// stackTrace is what the parameter error_trace gets: the exception and what caused it,
// as a Java trace begins. Where in our code it happened is not a client's business.
func (p *reply) stackTrace(withCause bool) string {
	trace := p.kind + ": " + p.reason
	if withCause && p.cause.kind != "" {
		trace += "\nCaused by: " + p.cause.kind + ": " + p.cause.reason
	}
	return trace
}
