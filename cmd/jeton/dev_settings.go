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
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("--settings: %w", err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("--settings: %w", err)
	}
	settings, err := parseDevSettings(content, filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("--settings %s: %w", path, err)
	}
	return settings, nil
}

// parseDevSettings makes relative paths absolute, starting at folder: the file
// that a node reads lies elsewhere.
func parseDevSettings(content []byte, folder string) (devSettings, error) {
	var tree map[string]any
	if err := yaml.Unmarshal(content, &tree); err != nil {
		return nil, err //nolint:wrapcheck // the caller names the file
	}
	settings := devSettings{}
	if err := settings.flatten("", tree); err != nil {
		return nil, err
	}
	for _, setting := range config.Settings() {
		if path, ok := settings[setting.Name].(string); ok && setting.Kind == "path" && !filepath.IsAbs(path) {
			settings[setting.Name] = filepath.Join(folder, path)
		}
	}
	var problems []error
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		if ownedByDev(name) {
			problems = append(problems, fmt.Errorf("%s is set by jeton dev itself for each node; leave it out", name))
		}
	}
	return settings, errors.Join(problems...)
}

func (s devSettings) flatten(prefix string, tree map[string]any) error {
	for key, value := range tree {
		name := prefix + key
		if branch, ok := value.(map[string]any); ok {
			if err := s.flatten(name+".", branch); err != nil {
				return err
			}
			continue
		}
		if _, twice := s[name]; twice {
			return fmt.Errorf("%s is given twice", name)
		}
		s[name] = value
	}
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
