package httpapi

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// column of a table for people. Its aliases are its other names in the parameters h
// and s.
type column struct {
	name        string
	aliases     string // separated by commas
	description string
	hidden      bool // unless asked for by h
	right       bool // its values end at its right edge
}

// table is an answer of /_cat. A row has a cell for each column; an empty one has no
// value.
type table struct {
	columns []column
	rows    [][]string
}

// shown is a column of the answer, under the name that it was asked for by.
type shown struct {
	index int
	name  string
}

// find returns the columns that a name of h or s means: an alias is a name, too.
func (t *table) find(name string) []shown {
	var found []shown
	for i, c := range t.columns {
		switch names := strings.Split(c.aliases, ","); {
		case strings.Contains(name, "*"):
			if glob(name, c.name) || slices.ContainsFunc(names, func(alias string) bool { return glob(name, alias) }) {
				found = append(found, shown{i, c.name})
			}
		case c.name == name || slices.Contains(names, name):
			return []shown{{i, name}}
		}
	}
	return found
}

// choose reads the parameter h. As in Elasticsearch, names that mean nothing are
// skipped.
func (t *table) choose(names []string) []shown {
	var list []shown
	if names == nil {
		for i, c := range t.columns {
			if !c.hidden {
				list = append(list, shown{i, c.name})
			}
		}
		return list
	}
	for _, name := range names {
		for _, one := range t.find(name) {
			if !slices.Contains(list, one) {
				list = append(list, one)
			}
		}
	}
	return list
}

// sort reads the parameter s: columns, each with :asc or :desc if need be.
func (t *table) sort(keys []string) error {
	type key struct {
		index   int
		reverse bool
	}
	var list []key
	for _, one := range keys {
		name, reverse := strings.CutSuffix(one, ":desc")
		name = strings.TrimSuffix(name, ":asc")
		found := t.find(name)
		if len(found) != 1 || strings.Contains(name, "*") {
			return &argumentError{reason: "Unable to sort by unknown sort key `" + echo(name) + "`"}
		}
		list = append(list, key{found[0].index, reverse})
	}
	slices.SortStableFunc(t.rows, func(a, b []string) int {
		for _, k := range list {
			order := compareCells(a[k.index], b[k.index])
			if k.reverse {
				order = -order
			}
			if order != 0 {
				return order
			}
		}
		return 0
	})
	return nil
}

// compareCells orders numbers by value and all else by its text.
func compareCells(a, b string) int {
	x, notA := strconv.ParseInt(a, 10, 64)
	y, notB := strconv.ParseInt(b, 10, 64)
	if notA == nil && notB == nil {
		return cmp.Compare(x, y)
	}
	return strings.Compare(a, b)
}

// appendJSON appends the rows as objects. All values are strings, as in Elasticsearch.
func (t *table) appendJSON(dst []byte, list []shown) []byte {
	dst = append(dst, '[')
	for i, row := range t.rows {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, '{')
		for j, c := range list {
			if j > 0 {
				dst = append(dst, ',')
			}
			dst = append(appendString(dst, c.name), ':')
			if cell := row[c.index]; cell != "" {
				dst = appendString(dst, cell)
			} else {
				dst = append(dst, "null"...)
			}
		}
		dst = append(dst, '}')
	}
	return append(dst, ']')
}

// appendText appends the rows as text, with the names of the columns if heading is
// set. The last column is not filled up.
func (t *table) appendText(dst []byte, list []shown, heading bool) []byte {
	var lines [][]string
	if heading {
		lines = append(lines, make([]string, len(list)))
		for i, c := range list {
			lines[0][i] = c.name
		}
	}
	right := make([]bool, len(list))
	for i, c := range list {
		right[i] = t.columns[c.index].right
	}
	for _, row := range t.rows {
		line := make([]string, len(list))
		for i, c := range list {
			line[i] = row[c.index]
		}
		lines = append(lines, line)
	}
	return appendLines(dst, lines, right, " ", false)
}

// appendHelp appends what the columns are.
func (t *table) appendHelp(dst []byte) []byte {
	var lines [][]string
	for _, c := range t.columns {
		lines = append(lines, []string{c.name, c.aliases, c.description})
	}
	return appendLines(dst, lines, make([]bool, 3), " | ", true)
}

// appendLines appends cells below one another. FillLast is for the last of a line.
func appendLines(dst []byte, lines [][]string, right []bool, between string, fillLast bool) []byte {
	width := make([]int, len(right))
	for _, line := range lines {
		for i, cell := range line {
			width[i] = max(width[i], len(cell))
		}
	}
	for _, line := range lines {
		for i, cell := range line {
			if i > 0 {
				dst = append(dst, between...)
			}
			space := strings.Repeat(" ", width[i]-len(cell))
			switch {
			case right[i]:
				dst = append(append(dst, space...), cell...)
			case i < len(line)-1 || fillLast:
				dst = append(append(dst, cell...), space...)
			default:
				dst = append(dst, cell...)
			}
		}
		dst = append(dst, '\n')
	}
	return dst
}
