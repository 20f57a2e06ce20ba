package config

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Setting describes one setting to people: help texts and reference pages.
type Setting struct {
	Name    string // as in the file, and as a flag
	Env     string // the environment variable
	Group   string // what it is about, as a heading; settings of one group stand together
	Kind    string // duration, size, number, bool, text, host, path, list, or the words to choose from: a|b
	Range   string // of a duration, size or number: "1s to 1h", both included; empty otherwise
	Default string // as it would be written; empty if there is none
	Doc     string // one or two sentences
}

// Settings returns all settings in the order of the reference page.
func Settings() []Setting {
	defaults := Default()
	var public []Setting
	for _, s := range table() {
		s.Env = envName(s.Name)
		if s.Default == "" {
			s.Default = s.show(defaults)
		}
		public = append(public, s.Setting)
	}
	return public
}

// setting is one row of the table: what people read, and how it is read and shown.
type setting struct {
	Setting
	// set parses and stores a value, or says what is wrong with it. It never quotes a
	// secret.
	set func(*Config, given) error
	// show returns the value as it would be written; "" if it is empty.
	show func(*Config) string
	// check says what is wrong with the value in a Config that was not loaded.
	check func(*Config) error
}

// defaultingTo says where the default comes from, when it is not a fixed value.
func (s setting) defaultingTo(source string) setting {
	s.Default = source
	return s
}

// field finds the place of a setting in a Config.
type field[T any] func(*Config) *T

// text is a setting of one string that verify accepts; nil: any but the empty one.
func text(name string, at field[string], verify func(string) error, doc string) setting {
	return setting{
		Setting: Setting{Name: name, Kind: "text", Doc: doc},
		set: func(c *Config, g given) error {
			value, err := g.text()
			switch {
			case err != nil:
				return err
			case value == "":
				return errors.New("is empty; leave the setting out, or give it a value")
			case verify != nil:
				if err := verify(value); err != nil {
					return fmt.Errorf("[%s] %w", value, err)
				}
			}
			*at(c) = value
			return nil
		},
		show: func(c *Config) string { return *at(c) },
		check: func(c *Config) error {
			value := *at(c)
			if verify == nil || value == "" {
				return nil // what must not be empty is a matter of Validate
			}
			if err := verify(value); err != nil {
				return fmt.Errorf("[%s] %w", value, err)
			}
			return nil
		},
	}
}

func choice(name string, at field[string], words []string, doc string) setting {
	verify := func(value string) error {
		if !slices.Contains(words, value) {
			return fmt.Errorf("must be one of [%s]", strings.Join(words, ", "))
		}
		return nil
	}
	s := text(name, at, verify, doc)
	s.Kind = strings.Join(words, "|")
	return s
}

// filePath is a file or folder; it is made absolute.
func filePath(name string, at field[string], doc string) setting {
	s := text(name, at, nil, doc)
	s.Kind = "path"
	s.set = func(c *Config, g given) error {
		value, err := g.text()
		if err != nil {
			return err
		}
		*at(c), err = resolvePath(value, g.folder)
		return err
	}
	return s
}

func filePaths(name string, at field[[]string], doc string) setting {
	s := list(name, at, nil, doc)
	store := s.set
	s.set = func(c *Config, g given) error {
		items := g.items()
		for i, item := range items {
			resolved, err := resolvePath(item, g.folder)
			if err != nil {
				return err
			}
			items[i] = resolved
		}
		return store(c, given{texts: items, list: true})
	}
	return s
}

func resolvePath(value, folder string) (string, error) {
	if value == "" {
		return "", errors.New("is empty; leave the setting out, or give it a path")
	}
	if strings.ContainsRune(value, 0) {
		return "", errors.New("holds a zero byte")
	}
	if !filepath.IsAbs(value) {
		value = filepath.Join(folder, value)
	}
	return filepath.Clean(value), nil
}

func list(name string, at field[[]string], verify func(string) error, doc string) setting {
	check := func(items []string) error {
		var problems []string
		for i, item := range items {
			if slices.Contains(items[:i], item) {
				problems = append(problems, fmt.Sprintf("[%s] is listed twice", item))
			}
			if verify == nil {
				continue
			}
			if err := verify(item); err != nil {
				problems = append(problems, fmt.Sprintf("[%s] %v", item, err))
			}
		}
		if len(problems) > 0 {
			return errors.New(strings.Join(problems, "; "))
		}
		return nil
	}
	return setting{
		Setting: Setting{Name: name, Kind: "list", Doc: doc},
		set: func(c *Config, g given) error {
			items := g.items()
			if err := check(items); err != nil {
				return err
			}
			*at(c) = items
			return nil
		},
		show:  func(c *Config) string { return strings.Join(*at(c), ",") },
		check: func(c *Config) error { return check(*at(c)) },
	}
}

// boolean sets all its targets; the later ones are settings of their own further
// down the table, which may say otherwise.
func boolean(name, doc string, targets ...field[bool]) setting {
	return setting{
		Setting: Setting{Name: name, Kind: "bool", Doc: doc},
		set: func(c *Config, g given) error {
			value, err := g.text()
			if err != nil {
				return err
			}
			if value != "true" && value != "false" {
				return fmt.Errorf("failed to parse value [%s] as only [true] or [false] are allowed", value)
			}
			for _, at := range targets {
				*at(c) = value == "true"
			}
			return nil
		},
		show:  func(c *Config) string { return strconv.FormatBool(*targets[0](c)) },
		check: func(*Config) error { return nil },
	}
}

// always is a switch of Elasticsearch's that cannot be turned off here; files that
// have it keep working.
func always(name, doc string) setting {
	return setting{
		Setting: Setting{Name: name, Kind: "bool", Doc: doc},
		set: func(_ *Config, g given) error {
			if value, err := g.text(); err != nil || value != "true" {
				return errors.New("cannot be turned off; remove the setting, or set it to [true]")
			}
			return nil
		},
		show:  func(*Config) string { return "true" },
		check: func(*Config) error { return nil },
	}
}

// host sets all its targets, as [boolean] does.
func host(name, doc string, targets ...field[string]) setting {
	return setting{
		Setting: Setting{Name: name, Kind: "host", Doc: doc},
		set: func(c *Config, g given) error {
			value, err := g.text()
			if err != nil {
				return err
			}
			address, err := parseHost(value)
			if err != nil {
				return fmt.Errorf("[%s] %w", value, err)
			}
			for _, at := range targets {
				*at(c) = address
			}
			return nil
		},
		show: func(c *Config) string { return *targets[0](c) },
		check: func(c *Config) error {
			value := *targets[0](c)
			if value == "" {
				return nil // what must not be empty is a matter of Validate
			}
			if _, err := parseHost(value); err != nil {
				return fmt.Errorf("[%s] %w", value, err)
			}
			return nil
		},
	}
}

// scale is how the values of a number-like kind are written.
type scale[T cmp.Ordered] struct {
	kind   string
	parse  func(string) (T, error)
	format func(T) string
}

// between is a number-like setting in a closed range. The texts are Elasticsearch's.
func between[T cmp.Ordered](scale scale[T], name string, at field[T], low, high T, doc string) setting {
	inRange := func(text string, value T) error {
		const problem = "failed to parse value [%s] for setting [%s], must be %s [%s]"
		switch {
		case value < low:
			return fmt.Errorf(problem, text, name, ">=", scale.format(low))
		case value > high:
			return fmt.Errorf(problem, text, name, "<=", scale.format(high))
		default:
			return nil
		}
	}
	return setting{
		Setting: Setting{Name: name, Kind: scale.kind, Range: scale.format(low) + " to " + scale.format(high), Doc: doc},
		set: func(c *Config, g given) error {
			text, err := g.text()
			if err != nil {
				return err
			}
			value, err := scale.parse(strings.TrimSpace(text))
			if err != nil {
				return fmt.Errorf("failed to parse value [%s] as a %s: %w", text, scale.kind, err)
			}
			if err := inRange(text, value); err != nil {
				return err
			}
			*at(c) = value
			return nil
		},
		show:  func(c *Config) string { return scale.format(*at(c)) },
		check: func(c *Config) error { return inRange(scale.format(*at(c)), *at(c)) },
	}
}

func duration(name string, at field[time.Duration], low, high time.Duration, doc string) setting {
	parse := func(text string) (time.Duration, error) {
		quantity, err := parseQuantity(text, timeUnits())
		if err != nil {
			return 0, fmt.Errorf("%w; write it as 500ms, 30s, 20m, 24h or 7d", err)
		}
		return time.Duration(quantity), nil
	}
	return between(scale[time.Duration]{"duration", parse, formatDuration}, name, at, low, high, doc)
}

func size(name string, at field[int64], low, high int64, doc string) setting {
	parse := func(text string) (int64, error) {
		quantity, err := parseQuantity(text, sizeUnits())
		if err != nil {
			return 0, fmt.Errorf("%w; write it as 512b, 64kb, 10mb or 1gb", err)
		}
		return quantity, nil
	}
	format := func(quantity int64) string { return formatQuantity(quantity, sizeUnits()) }
	return between(scale[int64]{"size", parse, format}, name, at, low, high, doc)
}

func number(name string, at field[int], low, high int, doc string) setting {
	parse := func(text string) (int, error) {
		value, err := strconv.Atoi(text)
		if err != nil {
			return 0, errors.New("it is not a whole number")
		}
		return value, nil
	}
	return between(scale[int]{"number", parse, strconv.Itoa}, name, at, low, high, doc)
}
