package httpapi

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

// maxFilterPaths bounds the work of one answer: every name in it is compared with
// every path.
const maxFilterPaths = 64

// paths are parts of an answer, each split at its dots. A part may contain *, which
// stands for any characters, or be **, which stands for any number of parts.
type paths [][]string

// pathFilter is the parameter filter_path: what an answer is cut down to, and what is
// taken out of it.
type pathFilter struct{ include, exclude paths }

// parseFilter reads paths separated by commas; those that begin with - are taken out.
func parseFilter(text string) (pathFilter, error) {
	var f pathFilter
	for one := range strings.SplitSeq(text, ",") {
		one, excluded := strings.CutPrefix(strings.TrimSpace(one), "-")
		switch {
		case one == "":
		case excluded:
			f.exclude = append(f.exclude, splitPath(one))
		default:
			f.include = append(f.include, splitPath(one))
		}
	}
	if len(f.include)+len(f.exclude) > maxFilterPaths {
		return f, &argumentError{reason: "[filter_path] must have no more than [" + strconv.Itoa(maxFilterPaths) + "] paths"}
	}
	return f, nil
}

// splitPath splits at the dots that have no backslash before them.
func splitPath(path string) []string {
	var parts []string
	var part strings.Builder
	for i := 0; i < len(path); i++ {
		switch {
		case path[i] == '\\' && i+1 < len(path) && path[i+1] == '.':
			part.WriteByte('.')
			i++
		case path[i] == '.':
			parts = append(parts, part.String())
			part.Reset()
		default:
			part.WriteByte(path[i])
		}
	}
	return append(parts, part.String())
}

// step enters a member. Whole tells that a path ends here, rest what is left of the
// paths that lead on.
func (p paths) step(name string) (rest paths, whole bool) {
	add := func(path []string) {
		if len(path) == 0 {
			whole = true
		} else if !slices.ContainsFunc(rest, func(r []string) bool { return &r[0] == &path[0] }) {
			rest = append(rest, path) // each suffix once, or ** would multiply them
		}
	}
	for _, path := range p {
		if path[0] != "**" {
			if glob(path[0], name) {
				add(path[1:])
			}
			continue
		}
		add(path)
		if len(path) == 1 {
			whole = true
		} else if glob(path[1], name) {
			add(path[2:])
		}
	}
	return rest, whole
}

// apply appends what is left of an answer, which is compact JSON of ours. As in
// Elasticsearch, an object or array of which nothing is left is left out, too.
func (f pathFilter) apply(dst, body []byte) []byte {
	c := cutter{json: body, dst: dst}
	if !c.value(f.include, len(f.include) == 0, f.exclude) && len(body) > 0 {
		if body[0] == '[' {
			return append(dst, '[', ']')
		}
		return append(dst, '{', '}')
	}
	return c.dst
}

// cutter copies JSON from at on, without what is filtered out.
type cutter struct {
	json []byte
	at   int
	dst  []byte
}

// value copies one value, as far as include (or all) and exclude let it, and tells
// whether anything was copied.
func (c *cutter) value(include paths, all bool, exclude paths) bool {
	opening := c.json[c.at]
	if container := opening == '{' || opening == '['; !container || all && len(exclude) == 0 {
		end := valueEnd(c.json, c.at)
		if all {
			c.dst = append(c.dst, c.json[c.at:end]...)
		}
		c.at = end
		return all
	}
	start := len(c.dst)
	c.dst = append(c.dst, opening)
	c.at++
	some := false
	for c.json[c.at] != '}' && c.json[c.at] != ']' {
		if c.json[c.at] == ',' {
			c.at++
		}
		before := len(c.dst)
		if some {
			c.dst = append(c.dst, ',')
		}
		if c.element(opening, include, all, exclude) {
			some = true
		} else {
			c.dst = c.dst[:before]
		}
	}
	if !some {
		c.at++
		c.dst = c.dst[:start]
		return false
	}
	c.dst = append(c.dst, c.json[c.at])
	c.at++
	return true
}

// element copies a member of an object, or an element of an array, which a path does
// not see.
func (c *cutter) element(container byte, include paths, all bool, exclude paths) bool {
	if container == '[' {
		return c.value(include, all, exclude)
	}
	start := c.at
	c.at = stringEnd(c.json, start)
	name := nameOf(c.json[start:c.at])
	c.at++ // the colon
	exclude, excluded := exclude.step(name)
	if !all {
		include, all = include.step(name)
	}
	if excluded || !all && len(include) == 0 {
		c.at = valueEnd(c.json, c.at)
		return false
	}
	c.dst = append(c.dst, c.json[start:c.at]...)
	return c.value(include, all, exclude)
}

// nameOf is what a JSON string says.
func nameOf(quoted []byte) string {
	if !slices.Contains(quoted, '\\') {
		return string(quoted[1 : len(quoted)-1])
	}
	var name string
	_ = json.Unmarshal(quoted, &name) // ours, so it is valid
	return name
}

// valueEnd returns the index after the value that starts at start.
func valueEnd(body []byte, start int) int {
	depth := 0
	for i := start; i < len(body); i++ {
		switch body[i] {
		case '"':
			i = stringEnd(body, i) - 1
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth < 0 {
				return i
			}
		case ',':
			if depth == 0 {
				return i
			}
			continue
		default:
			continue
		}
		if depth == 0 {
			return i + 1
		}
	}
	return len(body)
}

// glob knows * (any characters). What is between two of them is taken where it comes
// first, so that a pattern costs about as much as reading the name.
func glob(pattern, name string) bool {
	part, rest, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == name
	}
	if !strings.HasPrefix(name, part) {
		return false
	}
	name = name[len(part):]
	for {
		if part, rest, star = strings.Cut(rest, "*"); !star {
			return strings.HasSuffix(name, part)
		}
		i := strings.Index(name, part)
		if i < 0 {
			return false
		}
		name = name[i+len(part):]
	}
}
