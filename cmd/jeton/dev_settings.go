package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"jeton/node/config"
)

const (
	settingClusterName = "cluster.name"
	settingPassword    = "bootstrap.password"
)

// devOwned are the settings (and, ending in a dot, groups of settings) that
// dev itself gives to every node; what they say is the shape of the cluster.
var devOwned = []string{
	"node.name", "path.", "network.", "http.host", "http.port", "http.publish_host", "http.publish_port",
	"transport.", "discovery.", "cluster.initial_master_nodes", "bootstrap.password_file",
	"xpack.security.http.ssl.", "xpack.security.transport.ssl.", "xpack.security.authc.token.key_path",
}

// devSettings are server settings by their dotted names.
type devSettings map[string]any

// readDevSettings reads the file given by --settings, in which settings may be
// nested or dotted as in the server's own file. It refuses what dev owns; all
// other checks are the server's.
func readDevSettings(path string) (devSettings, error) {
	if path == "" {
		return devSettings{}, nil
	}
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("--settings: %w", err)
	}
	content, err := os.ReadFile(absolute)
	if err != nil {
		return nil, fmt.Errorf("--settings: %w", err)
	}
	settings, err := parseDevSettings(content, path, filepath.Dir(absolute))
	if err != nil {
		return nil, fmt.Errorf("--settings is not valid:\n%w", err)
	}
	return settings, nil
}

// parseDevSettings makes relative paths absolute, starting at folder: the file
// that a node reads lies elsewhere. Errors begin with label and a line.
func parseDevSettings(content []byte, label, folder string) (devSettings, error) {
	var document yaml.Node
	if err := yaml.Unmarshal(content, &document); err != nil {
		if strings.Contains(err.Error(), "anchor") { // it would quote the value, which may be a password
			err = errors.New("yaml: an alias (*name) without its anchor; put values that begin with * or & in quotes")
		}
		return nil, fmt.Errorf("%s: %w", label, err)
	}
	flat := flatSettings{devSettings{}, map[string]string{}, label}
	if len(document.Content) > 0 { // else there is nothing but comments
		if err := flat.add("", document.Content[0]); err != nil {
			return nil, err
		}
	}
	settings := flat.values
	for _, setting := range config.Settings() {
		if path, ok := settings[setting.Name].(string); ok && setting.Kind == "path" && !filepath.IsAbs(path) {
			settings[setting.Name] = filepath.Join(folder, path)
		}
	}
	var problems []error
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		if ownedByDev(name) {
			problems = append(problems, fmt.Errorf("%s: %s is set by jeton dev itself for each node; leave it out", flat.lines[name], name))
		}
	}
	return settings, errors.Join(problems...)
}

// flatSettings gathers settings from a tree of them.
type flatSettings struct {
	values devSettings
	lines  map[string]string // by setting: label:line
	label  string
}

func (f flatSettings) add(name string, node *yaml.Node) error {
	here := fmt.Sprintf("%s:%d", f.label, node.Line)
	if node.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(node.Content); i += 2 {
			if err := f.add(strings.TrimPrefix(name+"."+node.Content[i].Value, "."), node.Content[i+1]); err != nil {
				return err
			}
		}
		return nil
	}
	if name == "" && node.Tag == "!!null" {
		return nil
	}
	if name == "" {
		return fmt.Errorf("%s: is not a list of settings; write each as name: value", here)
	}
	if _, twice := f.values[name]; twice {
		return fmt.Errorf("%s: %s is given twice", here, name)
	}
	var value any
	if err := node.Decode(&value); err != nil {
		return fmt.Errorf("%s: %s cannot be read; put the value in quotes", here, name) // the cause would quote it
	}
	f.values[name], f.lines[name] = value, here
	return nil
}

func ownedByDev(name string) bool {
	return slices.ContainsFunc(devOwned, func(owned string) bool {
		return name == owned || strings.HasSuffix(owned, ".") && strings.HasPrefix(name, owned)
	})
}

// text returns the setting as text, "" when it is not set.
func (s devSettings) text(name string) (string, error) {
	switch value := s[name].(type) {
	case nil:
		return "", nil
	case string:
		return value, nil
	default:
		return "", fmt.Errorf("--settings: %s must be text (put it in quotes)", name)
	}
}

// nodeSettings returns the whole configuration of one node: dev's defaults,
// under what --settings asks for, under what makes it a node of this cluster.
func nodeSettings(dir devDir, state *devState, node devNode, given devSettings) devSettings {
	settings := devSettings{"shutdown.delay": "0s"} // nobody balances load over a dev cluster
	maps.Copy(settings, given)
	delete(settings, settingPassword) // handed over by file: config files are shown around
	seeds, names := make([]string, len(state.Nodes)), make([]string, len(state.Nodes))
	for i, n := range state.Nodes {
		seeds[i], names[i] = hostPort(n.TransportPort), n.Name
	}
	http, transport := dir.certs().NodeHTTP(node.Name), dir.certs().NodeTransport(node.Name)
	maps.Copy(settings, devSettings{
		settingClusterName:             state.ClusterName,
		"node.name":                    node.Name,
		"path.data":                    dir.nodeData(node.Name),
		"network.host":                 loopback,
		"http.port":                    node.HTTPPort,
		"transport.port":               node.TransportPort,
		"discovery.seed_hosts":         seeds,
		"cluster.initial_master_nodes": names,
		"bootstrap.password_file":      dir.password(),

		"xpack.security.http.ssl.enabled":                      true,
		"xpack.security.http.ssl.certificate":                  http.Certificate,
		"xpack.security.http.ssl.key":                          http.Key,
		"xpack.security.http.ssl.certificate_authorities":      http.CertificateAuthorities,
		"xpack.security.transport.ssl.certificate":             transport.Certificate,
		"xpack.security.transport.ssl.key":                     transport.Key,
		"xpack.security.transport.ssl.certificate_authorities": transport.CertificateAuthorities,
		"xpack.security.authc.token.key_path":                  dir.certs().ClusterKey(),
	})
	return settings
}

// check has the server's own checks look at what a node will be given, in such a
// way that what they find names the user's file and line, not the one that is
// written for the node.
func (s devSettings) check(path string, given devSettings, environ []string) (*config.Config, error) {
	overrides := map[string]string{}
	for name, value := range s {
		if _, users := given[name]; users {
			continue
		}
		if list, ok := value.([]string); ok {
			value = strings.Join(list, ",")
		}
		overrides[name] = fmt.Sprint(value)
	}
	if _, users := given[settingPassword]; users {
		delete(overrides, "bootstrap.password_file") // it holds the same
	}
	return config.Load(path, environ, overrides)
}

// writeNodeConfig writes a node's configuration as a file that a person can
// read and that `jeton server --config` takes.
func writeNodeConfig(path string, settings devSettings) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err //nolint:wrapcheck // names the folder
	}
	content, err := yaml.Marshal(map[string]any(settings)) // sorted by name
	if err != nil {
		return fmt.Errorf("encode %s: %w", path, err)
	}
	header := "# Written by jeton dev at every start: changes here are lost. Give settings with --settings FILE.\n"
	return writeFileAtomic(path, append([]byte(header), content...))
}
