package httpapi

import (
	"maps"
	"slices"
)

// Route is an operation as tests see it.
type Route struct {
	Method, Path string
	Open, Body   bool
	Params       []string
}

// EveryRoute lists what is served.
func (s *Server) EveryRoute() []Route {
	var routes []Route
	s.everyRoute(func(template string, m methods) {
		for _, method := range slices.Sorted(maps.Keys(m)) {
			op := m[method]
			routes = append(routes, Route{method, template, op.access == open, op.body, op.params})
		}
	})
	return routes
}

// Glob is what filter_path and its like compare names by.
func Glob(pattern, name string) bool { return glob(pattern, name) }
