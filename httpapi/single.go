package httpapi

import (
	"net/http"
	"slices"
)

// singles are the headers that must not have several values, as net/http spells them
// and as Elasticsearch does.
var singles = [...]struct {
	canonical, name string
	mediaType       bool // nor with the same one twice
}{
	{"Accept", "Accept", true},
	{"Content-Type", "Content-Type", true},
	{"Authorization", "Authorization", false},
	{canonicalRunAs, headerRunAs, false},
	{"X-Opaque-Id", "X-Opaque-Id", false},
}

// singleError is a header with several values.
type singleError struct {
	header    string
	mediaType bool
}

func (e *singleError) Error() string { return "several values of header " + e.header }

// checkSingle refuses headers of which it would depend on the reader, a proxy or us,
// which of their values counts (RFC 9110, 5.3).
func checkSingle(header http.Header) error {
	for i := range singles {
		lines := header[singles[i].canonical]
		if len(lines) < 2 {
			continue
		}
		if singles[i].mediaType || differ(lines) {
			return &singleError{header: singles[i].name, mediaType: singles[i].mediaType}
		}
	}
	return nil
}

func differ(lines []string) bool {
	return slices.ContainsFunc(lines, func(line string) bool { return line != lines[0] })
}

func replyForSingle(e *singleError) reply {
	if e.mediaType {
		return reply{
			status: http.StatusBadRequest, kind: typeMediaType, reason: "Invalid media-type value on headers [" + e.header + "]",
			cause: cause{kind: typeIllegalArgument, reason: "Incorrect header [" + e.header + "]. Only one value should be provided"},
		}
	}
	return reply{
		status: http.StatusBadRequest, shape: simpleShape, reason: "multiple values for single-valued header [" + e.header + "].",
	}
}
