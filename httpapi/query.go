package httpapi

import (
	"net/url"
	"slices"
	"strings"
	"time"
)

// common are the query parameters of every endpoint: they are about the form of the
// answer.
var common = []string{"pretty", "human", "error_trace", "filter_path", "format"}

// argumentError is a request that Elasticsearch answers with
// illegal_argument_exception.
type argumentError struct{ reason string }

func (e *argumentError) Error() string { return e.reason }

// parseQuery reads the query string; the usual request has none.
func parseQuery(raw string) (url.Values, error) {
	if raw == "" {
		return nil, nil
	}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, &argumentError{reason: "the query string cannot be decoded"}
	}
	return values, nil
}

// checkQuery refuses parameters that the endpoint does not know: a misspelt one
// would silently not do what it says.
func checkQuery(path string, query url.Values, known []string) error {
	var unknown []string
	for name := range query {
		if !slices.Contains(common, name) && !slices.Contains(known, name) {
			unknown = append(unknown, "["+echo(name)+"]")
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	slices.Sort(unknown)
	plural := ""
	if len(unknown) > 1 {
		plural = "s"
	}
	return &argumentError{
		reason: "request [" + path + "] contains unrecognized parameter" + plural + ": " + strings.Join(unknown, ", "),
	}
}

// boolean is a parameter's truth as Elasticsearch reads it: there without a value
// is true.
func boolean(query url.Values, name string, absent bool) (bool, error) {
	if !query.Has(name) {
		return absent, nil
	}
	switch text := query.Get(name); text {
	case "", "true":
		return true, nil
	case "false":
		return false, nil
	default:
		return false, &argumentError{reason: "Failed to parse value [" + echo(text) + "] as only [true] or [false] are allowed."}
	}
}

// checkRefresh reads the parameter refresh of writes. All its values mean the same
// here: an acknowledged write is visible.
func checkRefresh(query url.Values) error {
	switch text := query.Get("refresh"); text {
	case "", "true", "false", "wait_for":
		return nil
	default:
		return &argumentError{reason: "Unknown value for refresh: [" + echo(text) + "]."}
	}
}

// units are Elasticsearch's units of time, longest names first.
var units = []struct {
	suffix string
	unit   time.Duration
}{
	{"nanos", time.Nanosecond},
	{"micros", time.Microsecond},
	{"ms", time.Millisecond},
	{"s", time.Second},
	{"m", time.Minute},
	{"h", time.Hour},
	{"d", 24 * time.Hour},
}

// timeValue reads a time like 30s.
func timeValue(query url.Values, name string, absent time.Duration) (time.Duration, error) {
	if !query.Has(name) {
		return absent, nil
	}
	text := query.Get(name)
	for _, u := range units {
		digits, found := strings.CutSuffix(strings.ToLower(text), u.suffix)
		if !found {
			continue
		}
		if n, ok := small(digits); ok {
			return time.Duration(n) * u.unit, nil
		}
		break
	}
	if text == "0" || text == "-1" {
		return 0, nil
	}
	return 0, &argumentError{
		reason: "failed to parse setting [" + name + "] with value [" + echo(text) + "] as a time value: unit is missing or unrecognized",
	}
}

// small reads up to four digits: whatever the unit, the product fits a Duration.
func small(digits string) (int, bool) {
	if digits == "" || len(digits) > 4 {
		return 0, false
	}
	n := 0
	for _, c := range []byte(digits) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, true
}
