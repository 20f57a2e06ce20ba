package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// problem is what is wrong with one setting.
type problem struct {
	setting string // empty: several together
	err     error
}

func (p problem) Error() string {
	if p.setting == "" {
		return p.err.Error()
	}
	return p.setting + ": " + p.err.Error()
}

func (p problem) Unwrap() error { return p.err }

// Validate reports all problems at once, each with the setting and what to do. It
// changes nothing and looks at no file. [Load] has done it already.
func (c *Config) Validate() error {
	var all []error
	for _, p := range c.problems() {
		all = append(all, p)
	}
	return errors.Join(all...)
}

func (c *Config) problems() []problem {
	var all []problem
	for _, s := range table() {
		if err := s.check(c); err != nil {
			all = append(all, problem{s.Name, err})
		}
	}
	all = append(all, c.missing()...)
	all = append(all, c.discoveryProblems()...)
	all = append(all, c.addressProblems()...)
	all = append(all, c.raftProblems()...)
	all = append(all, c.passwordProblems()...)
	all = append(all, c.autopilotProblems()...)
	if c.tokensInTheClear() && c.production() {
		all = append(all, problem{err: errTokensNeedHTTPS})
	}
	return all
}

// missing reports the settings that must be set and are not.
func (c *Config) missing() []problem {
	const (
		issue = "is not set; `jeton certs` makes it"
		node  = "is not set; give the node a name that is unique in the cluster"
		data  = "is not set; name the folder for this node's state"
		users = "is not set; name the file, or set xpack.security.authc.realms.file.enabled to false"
		https = "is not set; `jeton certs` makes it, or set xpack.security.http.ssl.enabled to false"
		bind  = "is empty; _local_ binds this machine only, 0.0.0.0 all its addresses"
	)
	transport, http := c.Transport.TLS, c.HTTP.TLS
	var all []problem
	for _, need := range []struct {
		missing    bool
		name, what string
	}{
		{c.ClusterName == "", "cluster.name", "is empty; the default is jeton"},
		{c.NodeName == "", "node.name", node},
		{c.DataPath == "", "path.data", data},
		{c.HTTP.Host == "", "http.host", bind},
		{c.Transport.Host == "", "transport.host", bind},
		{transport.Certificate == "", "xpack.security.transport.ssl.certificate", issue},
		{transport.Key == "", "xpack.security.transport.ssl.key", issue},
		{len(transport.CertificateAuthorities) == 0, "xpack.security.transport.ssl.certificate_authorities", issue},
		{http.Enabled && http.Certificate == "", "xpack.security.http.ssl.certificate", https},
		{http.Enabled && http.Key == "", "xpack.security.http.ssl.key", https},
		{c.Token.KeyPath == "", "xpack.security.authc.token.key_path", issue},
		{c.FileRealm.Enabled && c.FileRealm.Users == "", "xpack.security.authc.realms.file.files.users", users},
		{c.FileRealm.Enabled && c.FileRealm.UsersRoles == "", "xpack.security.authc.realms.file.files.users_roles", users},
	} {
		if need.missing {
			all = append(all, problem{need.name, errors.New(need.what)})
		}
	}
	return all
}

// The texts of Elasticsearch's own bootstrap checks.
var (
	errTokensNeedHTTPS = errors.New("HTTPS is required in order to use the token service; " +
		"please enable HTTPS using the [xpack.security.http.ssl.enabled] setting or " +
		"disable the token service using the [xpack.security.authc.token.enabled] setting")
	errNoDiscovery = errors.New("the default discovery settings are unsuitable; " +
		"at least one of [discovery.seed_hosts, cluster.initial_master_nodes] must be configured, " +
		"or [discovery.type] set to [single-node]")
	errNotSingle = errors.New("setting [cluster.initial_master_nodes] is not allowed when [discovery.type] is set to [single-node]")
)

func (c *Config) discoveryProblems() []problem {
	names, seeds := len(c.Discovery.InitialMasterNodes), len(c.Discovery.SeedHosts)
	switch {
	case c.Discovery.SingleNode && names > 0:
		return []problem{{"cluster.initial_master_nodes", errNotSingle}}
	case !c.Discovery.SingleNode && names+seeds == 0:
		return []problem{{"discovery.type", errNoDiscovery}}
	default:
		return nil
	}
}

func (c *Config) addressProblems() []problem {
	var all []problem
	if isUnspecified(c.Transport.PublishHost) {
		all = append(all, problem{
			"transport.publish_host",
			fmt.Errorf("[%s] is no address to connect to; name this machine's own", c.Transport.PublishHost),
		})
	}
	if isUnspecified(c.HTTP.PublishHost) {
		all = append(all, problem{
			"http.publish_host",
			fmt.Errorf("[%s] is no address to connect to; name this machine's own", c.HTTP.PublishHost),
		})
	}
	if !c.Discovery.SingleNode && c.Transport.PublishHost == "" && isUnspecified(c.Transport.Host) {
		all = append(all, problem{
			"transport.publish_host",
			fmt.Errorf("is not set while transport.host is [%s]; name the host by which the other nodes reach this one", c.Transport.Host),
		})
	}
	if c.HTTP.Port == c.Transport.Port && c.HTTP.Port != 0 && c.HTTP.Host == c.Transport.Host {
		all = append(all, problem{
			"transport.port",
			fmt.Errorf("[%d] is http.port too; give each its own", c.Transport.Port),
		})
	}
	return all
}

func (c *Config) raftProblems() []problem {
	if r := c.Raft; r.ElectionTimeout < r.HeartbeatTimeout {
		return []problem{{"raft.election_timeout", fmt.Errorf("[%s] is below raft.heartbeat_timeout [%s]; raise it",
			formatDuration(r.ElectionTimeout), formatDuration(r.HeartbeatTimeout))}}
	}
	return nil
}

func (c *Config) autopilotProblems() []problem {
	if c.Autopilot.CleanupDeadServers && c.Autopilot.MinQuorum == 0 {
		return []problem{{"autopilot.min_quorum", errors.New("must be set where autopilot.cleanup_dead_servers is true; " +
			"give it the number of voters that the cluster is meant to have, so that a network that is cut cannot shrink it")}}
	}
	return nil
}

// passwordProblems finds what the state would refuse only when the cluster is there,
// which would then never be ready.
func (c *Config) passwordProblems() []problem {
	if c.BootstrapPassword.IsZero() || !hashingAlgorithms.MatchString(c.PasswordHashing) {
		return nil
	}
	if err := c.BootstrapPassword.CheckAsPassword(c.PasswordHashing); err != nil {
		return []problem{{"bootstrap.password", fmt.Errorf("(or what bootstrap.password_file holds) %w", err)}}
	}
	return nil
}

// production is Elasticsearch's word for a node that others can reach, and that is
// not declared to be alone. Then the bootstrap checks are errors.
func (c *Config) production() bool {
	return !c.Discovery.SingleNode && !c.Transport.onLoopback()
}

func (c *Config) tokensInTheClear() bool { return c.Token.Enabled && !c.HTTP.TLS.Enabled }

// Warnings returns what is allowed but ought to be changed, one sentence each.
func (c *Config) Warnings() []string {
	var all []string
	if c.tokensInTheClear() && !c.production() {
		all = append(all, errTokensNeedHTTPS.Error())
	}
	if !c.HTTP.TLS.Enabled && !c.HTTP.onLoopback() {
		all = append(all, fmt.Sprintf("http.host: [%s] is reachable from other machines without HTTPS, so passwords cross the network "+
			"in the clear; set xpack.security.http.ssl.enabled to true", c.HTTP.Host))
	}
	if !c.Token.Enabled {
		all = append(all, "xpack.security.authc.token.enabled: is false, so no token is issued or accepted; "+
			"set xpack.security.http.ssl.enabled to true")
	}
	if names := len(c.Discovery.InitialMasterNodes); names > 0 && names%2 == 0 {
		all = append(all, "cluster.initial_master_nodes: "+evenCluster(names))
	}
	if names := c.Discovery.InitialMasterNodes; len(names) > 0 && !slices.Contains(names, c.NodeName) {
		all = append(all, notNamed(c.NodeName, names))
	}
	return all
}

// notNamed is no error: such a node may join a cluster. It takes no part in starting one, and
// a name that was misspelled is waited for.
func notNamed(own string, names []string) string {
	warning := fmt.Sprintf("node.name %q is not in cluster.initial_master_nodes %v", own, names)
	label := func(name string) string { before, _, _ := strings.Cut(name, "."); return before }
	for _, name := range names {
		if strings.EqualFold(label(name), label(own)) {
			return fmt.Sprintf("%s; %q?", warning, name)
		}
	}
	return warning + ": it can join the cluster that these start; remove the setting if that is what it is to do"
}

func evenCluster(nodes int) string {
	losses := "no loss"
	if bearable := (nodes - 1) / 2; bearable == 1 {
		losses = "one loss"
	} else if bearable > 1 {
		losses = fmt.Sprintf("%d losses", bearable)
	}
	return fmt.Sprintf("a cluster of %d survives %s, like a cluster of %d; use an odd number", nodes, losses, nodes-1)
}
