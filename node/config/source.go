package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// reader turns the sources into given values, and collects what is wrong with them.
type reader struct {
	known    map[string]bool   // names of settings
	environ  map[string]string // for ${VAR}
	failed   map[string]bool   // settings that have a problem already
	problems []error
}

func newReader(settings []setting, environ []string) *reader {
	r := &reader{known: map[string]bool{}, environ: map[string]string{}, failed: map[string]bool{}}
	for _, s := range settings {
		r.known[s.Name] = true
	}
	for _, variable := range environ {
		name, value, _ := strings.Cut(variable, "=")
		r.environ[name] = value
	}
	return r
}

func (r *reader) problem(format string, args ...any) {
	r.problems = append(r.problems, fmt.Errorf(format, args...))
}

// fail reports what is wrong with the value of one setting.
func (r *reader) fail(origin, name string, err error) {
	r.failed[name] = true
	r.problem("%s: %s: %w", origin, name, err)
}

// file reads elasticsearch.yml's kind of YAML. Label names the file in messages. An
// error means that it is not YAML, so that nothing can be said of its settings.
func (r *reader) file(content []byte, label, folder string) (map[string]given, error) {
	found := map[string]given{}
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	var document yaml.Node
	switch err := decoder.Decode(&document); {
	case errors.Is(err, io.EOF):
		return found, nil // nothing but comments
	case err != nil:
		return nil, fmt.Errorf("%s: %w", label, syntaxError(err))
	}
	if err := decoder.Decode(&yaml.Node{}); !errors.Is(err, io.EOF) {
		r.problem("%s: holds more than one YAML document; remove what follows the second ---", label)
	}
	r.walk(document.Content[0], "", given{origin: label, folder: folder}, found)
	return found, nil
}

// syntaxError passes on what the parser says, unless that quotes a value: an
// unquoted password that begins with * is an unknown anchor to YAML.
func syntaxError(err error) error {
	if strings.Contains(err.Error(), "anchor") {
		return errors.New("yaml: an alias (*name) without its anchor; put values that begin with * or & in quotes")
	}
	return err
}

// walk flattens a node into dotted names. At carries label and folder.
func (r *reader) walk(node *yaml.Node, name string, at given, found map[string]given) {
	here := fmt.Sprintf("%s:%d", at.origin, node.Line)
	isNull := node.Kind == yaml.ScalarNode && node.Tag == "!!null"
	if node.Anchor != "" || strings.HasPrefix(node.Tag, "!") && !strings.HasPrefix(node.Tag, "!!") {
		// Taken as YAML means it, a password that begins so would lose its beginning.
		r.fail(here, cmp.Or(name, "the file"), errors.New("tags and anchors are not supported; put values that begin with ! or & in quotes"))
		return
	}
	switch {
	case node.Kind == yaml.MappingNode:
		r.walkMapping(node, name, at, found)
	case name == "" && isNull: // an empty document
	case name == "":
		r.problem("%s: is not a list of settings; write each as name: value", here)
	case node.Kind == yaml.AliasNode:
		r.fail(here, name, errors.New("aliases are not supported; put values that begin with * in quotes"))
	case !r.known[name]:
		r.problem("%s: unknown setting [%s]%s", here, name, r.hint(name))
	case isNull:
		r.fail(here, name, errors.New("has no value; give it one, or remove the line"))
	default:
		if earlier, twice := found[name]; twice {
			r.fail(here, name, fmt.Errorf("is already set at %s; remove one of the two", earlier.origin))
			return
		}
		texts, ok := r.scalars(node, here, name)
		if ok {
			found[name] = given{name, texts, node.Kind == yaml.SequenceNode, here, at.folder}
		}
	}
}

func (r *reader) walkMapping(node *yaml.Node, name string, at given, found map[string]given) {
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		if key.Kind != yaml.ScalarNode {
			r.problem("%s:%d: the name of a setting must be plain text", at.origin, key.Line)
			continue
		}
		full := key.Value
		if name != "" {
			full = name + "." + key.Value
		}
		if value.Kind == yaml.MappingNode && r.known[full] {
			r.fail(fmt.Sprintf("%s:%d", at.origin, key.Line), full, errors.New("takes a value, not settings below it"))
			continue
		}
		r.walk(value, full, at, found)
	}
}

// scalars returns the value or the list of values of a node, ${VAR} replaced.
func (r *reader) scalars(node *yaml.Node, here, name string) ([]string, bool) {
	nodes := []*yaml.Node{node}
	if node.Kind == yaml.SequenceNode {
		nodes = node.Content
	}
	texts := make([]string, 0, len(nodes))
	for _, item := range nodes {
		if item.Kind != yaml.ScalarNode || item.Tag == "!!null" {
			r.fail(here, name, errors.New("every item of the list must be one value"))
			return nil, false
		}
		text, missing := r.expand(item.Value)
		if len(missing) > 0 {
			r.fail(here, name, fmt.Errorf("there is no environment variable %s; set it, or write the value out",
				strings.Join(missing, ", ")))
			return nil, false
		}
		texts = append(texts, text)
	}
	return texts, true
}

var placeholder = regexp.MustCompile(`\$\{([A-Za-z_][A-Za-z0-9_]*)\}`)

// expand replaces ${VAR}, once: what a variable holds is not looked at again.
func (r *reader) expand(text string) (expanded string, missing []string) {
	expanded = placeholder.ReplaceAllStringFunc(text, func(match string) string {
		name := match[2 : len(match)-1]
		value, ok := r.environ[name]
		if !ok {
			missing = append(missing, name)
		}
		return value
	})
	return expanded, missing
}

// env reads the environment variables that are named after settings.
func (r *reader) env(folder string) map[string]given {
	names := map[string]string{}
	for name := range r.known {
		names[envName(name)] = name
	}
	found := map[string]given{}
	for _, variable := range slices.Sorted(maps.Keys(r.environ)) {
		value := r.environ[variable]
		switch name, known := names[variable]; {
		case !strings.HasPrefix(variable, envPrefix) || foreign(variable, value):
		case !known:
			r.problem("%s: unknown setting%s", variable, r.envHint(variable, names))
		default:
			found[name] = given{name, []string{value}, false, variable, folder}
		}
	}
	return found
}

const envPrefix = "JETON_"

func envName(setting string) string {
	return envPrefix + strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(setting))
}

// notSettings are the variables with our prefix that mean something else: what
// `jeton dev` tells scripts, and switches of tests and measurements.
var notSettings = regexp.MustCompile(`^JETON_(URLS|CACERT|USER|PASSWORD|PIDS|NODES|CONFIG|(BENCH|E2E|FUZZ|TEST)(_.*)?)$`)

// serviceLink matches what Kubernetes and Docker links put into every container
// beside a service called jeton or jeton-something.
var serviceLink = regexp.MustCompile(`^JETON_([A-Z0-9_]+_)?(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_\d+_(TCP|UDP)(_(PROTO|PORT|ADDR))?)$`)

// foreign reports whether a variable with our prefix is not meant as a setting.
func foreign(variable, value string) bool {
	if notSettings.MatchString(variable) || serviceLink.MatchString(variable) {
		return true
	}
	// JETON_HTTP_PORT=tcp://10.0.0.1:9200 comes from a service called jeton-http.
	return strings.HasSuffix(variable, "_PORT") && (strings.HasPrefix(value, "tcp://") || strings.HasPrefix(value, "udp://"))
}

const flag = "-E" // of `jeton server`: -E SETTING=VALUE

// flags reads the settings given on the command line.
func (r *reader) flags(overrides map[string]string, folder string) map[string]given {
	found := map[string]given{}
	for _, name := range slices.Sorted(maps.Keys(overrides)) {
		if !r.known[name] {
			r.problem("%s: unknown setting [%s]%s", flag, name, r.hint(name))
			continue
		}
		found[name] = given{name, []string{overrides[name]}, false, flag, folder}
	}
	return found
}

func (r *reader) hint(name string) string { return didYouMean(name, slices.Sorted(maps.Keys(r.known))) }

func (r *reader) envHint(variable string, names map[string]string) string {
	return didYouMean(variable, slices.Sorted(maps.Keys(names)))
}

// didYouMean names the setting that was probably meant, if there is one: the one
// with the same ending, or the one that takes the fewest changes.
func didYouMean(name string, known []string) string {
	const answer = ", did you mean [%s]?"
	for _, candidate := range known {
		if strings.HasSuffix(candidate, "."+name) || strings.HasSuffix(name, "."+candidate) {
			return fmt.Sprintf(answer, candidate)
		}
	}
	best, fewest := "", max(2, len(name)/5)+1
	for _, candidate := range known {
		if changes := editDistance(name, candidate); changes < fewest {
			best, fewest = candidate, changes
		}
	}
	if best == "" {
		return "; `jeton help settings` lists all settings"
	}
	return fmt.Sprintf(answer, best)
}

// editDistance is Levenshtein's, over bytes.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j]+1, row[j+1]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
