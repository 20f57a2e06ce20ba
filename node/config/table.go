package config

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"jeton/node/certs"
	"jeton/node/realm"
)

const day = 24 * time.Hour

// table lists every setting. The order matters: a setting that gives others their
// default (network.host, xpack.security.http.ssl.enabled) stands before them, since
// values are stored in this order.
func table() []setting {
	return slices.Concat(
		group("The node and its cluster", nodeSettings()),
		group("Addresses", networkSettings()),
		group("Finding the other nodes", discoverySettings()),
		group("Certificates", tlsSettings()),
		group("Tokens", tokenSettings()),
		group("OAuth 2.0", oauth2Settings()),
		group("Users and passwords", userSettings()),
		group("Replication", slices.Concat(readSettings(), raftSettings())),
		group("Members that come and go", autopilotSettings()),
		group("Requests, shutdown and logs", serviceSettings()),
	)
}

func group(title string, settings []setting) []setting {
	for i := range settings {
		settings[i].Group = title
	}
	return settings
}

func nodeSettings() []setting {
	return []setting{
		text("cluster.name", func(c *Config) *string { return &c.ClusterName }, certs.CheckName,
			"The cluster's name, the same on every node; part of every transport certificate."),
		text("node.name", func(c *Config) *string { return &c.NodeName }, certs.CheckName,
			"The node's name, unique in the cluster, the same for ever; part of its transport certificate.").
			defaultingTo("the machine's host name"),
		filePath("path.data", func(c *Config) *string { return &c.DataPath },
			"The folder of the log, the snapshots and the node's identity. Must be set."),
		filePath("path.logs", func(c *Config) *string { return &c.LogsPath },
			"A folder for the log file. Not set: the log goes to standard error."),
	}
}

func networkSettings() []setting {
	bindHTTP := func(c *Config) *string { return &c.HTTP.Host }
	bindTransport := func(c *Config) *string { return &c.Transport.Host }
	publishHTTP := func(c *Config) *string { return &c.HTTP.PublishHost }
	publishTransport := func(c *Config) *string { return &c.Transport.PublishHost }
	network := []setting{
		host("network.host",
			"The bind address for clients and nodes: an IP address, a host name, or _local_.", bindHTTP, bindTransport).
			defaultingTo("_local_"),
		host("network.publish_host",
			"The address that clients and nodes connect to, where it is not network.host.", publishHTTP, publishTransport),
	}
	http := []setting{
		host("http.host", "The bind address for clients.", bindHTTP).defaultingTo("network.host"),
		number("http.port", func(c *Config) *int { return &c.HTTP.Port }, 0, maxPort,
			"The port for clients. 0: any free one."),
		host("http.publish_host", "The address clients connect to.", publishHTTP).
			defaultingTo("network.publish_host, or http.host"),
		number("http.publish_port", func(c *Config) *int { return &c.HTTP.PublishPort }, 0, maxPort,
			"The port clients connect to, where it is not the bind port.").defaultingTo("http.port"),
		size("http.max_content_length", func(c *Config) *int64 { return &c.HTTP.MaxContentLength }, 1<<10, 10<<20,
			"The largest request body."),
	}
	transport := []setting{
		host("transport.host", "The bind address for the other nodes.", bindTransport).defaultingTo("network.host"),
		number("transport.port", func(c *Config) *int { return &c.Transport.Port }, 0, maxPort,
			"The port for the other nodes. 0: any free one."),
		host("transport.publish_host", "The address the other nodes connect to.", publishTransport).
			defaultingTo("network.publish_host, or transport.host"),
		number("transport.publish_port", func(c *Config) *int { return &c.Transport.PublishPort }, 0, maxPort,
			"The port the other nodes connect to, where it is not the bind port.").defaultingTo("transport.port"),
	}
	return slices.Concat(network, http, transport)
}

const (
	singleNode = "single-node"
	multiNode  = "multi-node"
)

func discoverySettings() []setting {
	discoveryType := setting{
		Setting: Setting{
			Name: "discovery.type", Kind: multiNode + "|" + singleNode,
			Doc: "single-node: a cluster of one, and the bootstrap checks become warnings.",
		},
		set: func(c *Config, g given) error {
			kind, err := g.text()
			if err == nil && kind != multiNode && kind != singleNode {
				err = fmt.Errorf("[%s] must be one of [%s, %s]", kind, multiNode, singleNode)
			}
			c.Discovery.SingleNode = kind == singleNode
			return err
		},
		show: func(c *Config) string {
			if c.Discovery.SingleNode {
				return singleNode
			}
			return multiNode
		},
		check: func(*Config) error { return nil },
	}
	seed := func(text string) error {
		_, _, err := parseSeed(text, maxPort)
		return err
	}
	return []setting{
		discoveryType,
		list("discovery.seed_hosts", func(c *Config) *[]string { return &c.Discovery.SeedHosts }, seed,
			"Nodes to ask for the cluster, as host or host:port. No port: this node's transport.port."),
		list("cluster.initial_master_nodes", func(c *Config) *[]string { return &c.Discovery.InitialMasterNodes }, certs.CheckName,
			"The names of the nodes that form a new cluster together, the same list on each. Ignored once the cluster exists."),
	}
}

func tlsSettings() []setting {
	const http, transport = "xpack.security.http.ssl.", "xpack.security.transport.ssl."
	return slices.Concat(
		[]setting{
			always("xpack.security.enabled", "Security cannot be turned off."),
			boolean(http+"enabled", "HTTPS for clients; also the default of xpack.security.authc.token.enabled.",
				func(c *Config) *bool { return &c.HTTP.TLS.Enabled }, func(c *Config) *bool { return &c.Token.Enabled }),
		},
		fileSettings(http, func(c *Config) *certs.Files { return &c.HTTP.TLS.Files }, "HTTPS",
			"The authorities that clients trust: a warning if they would refuse this node's certificate. Clients need none themselves."),
		[]setting{always(transport+"enabled", "Nodes always speak mutual TLS.")},
		fileSettings(transport, func(c *Config) *certs.Files { return &c.Transport.TLS.Files }, "the transport layer",
			"The authorities that sign the nodes of this cluster, and nothing else. Must be set."),
	)
}

func fileSettings(prefix string, at field[certs.Files], use, authorities string) []setting {
	return []setting{
		filePath(prefix+"certificate", func(c *Config) *string { return &at(c).Certificate },
			"PEM file: this node's certificate for "+use+", and its chain. Read again when it changes."),
		filePath(prefix+"key", func(c *Config) *string { return &at(c).Key },
			"PEM file: the private key of that certificate, readable by its owner only."),
		filePaths(prefix+"certificate_authorities", func(c *Config) *[]string { return &at(c).CertificateAuthorities }, authorities),
	}
}

func tokenSettings() []setting {
	const prefix = "xpack.security.authc.token."
	return []setting{
		boolean(prefix+"enabled", "The token service. It needs HTTPS on a node that others can reach.",
			func(c *Config) *bool { return &c.Token.Enabled }).defaultingTo("xpack.security.http.ssl.enabled"),
		duration(prefix+"timeout", func(c *Config) *time.Duration { return &c.Token.AccessLifetime }, time.Second, time.Hour,
			"The lifetime of an access token."),
		duration(prefix+"refresh_timeout", func(c *Config) *time.Duration { return &c.Token.RefreshLifetime }, time.Second, 365*day,
			"The lifetime of a refresh token."),
		duration(prefix+"session_timeout", func(c *Config) *time.Duration { return &c.Token.SessionLifetime }, 0, 3650*day,
			"How long after the login all tokens that come of it end. 0: no such limit."),
		duration(prefix+"refresh_window", func(c *Config) *time.Duration { return &c.Token.RefreshWindow }, 0, 5*time.Minute,
			"How long a repeated refresh gets the same answer again."),
		boolean(prefix+"reuse_detection",
			"A refresh token that is shown again after the window ends all tokens that descend from the same login.",
			func(c *Config) *bool { return &c.Token.ReuseDetection }),
		duration(prefix+"delete.interval", func(c *Config) *time.Duration { return &c.Token.DeleteInterval }, time.Second, day,
			"The time between two collections of expired tokens."),
		filePath(prefix+"key_path", func(c *Config) *string { return &c.Token.KeyPath },
			"The cluster key that `jeton certs` made, the same on every node, readable by its owner only. Must be set."),
	}
}

func oauth2Settings() []setting {
	return []setting{
		text("oauth2.issuer", func(c *Config) *string { return &c.OAuth2.Issuer }, checkIssuer,
			"The URL by which OAuth 2.0 clients know this cluster, the same on every node; the metadata names it. Not set: there is no metadata."),
		boolean("oauth2.public_clients",
			"Clients may get and refresh tokens by a user's password without authenticating themselves.",
			func(c *Config) *bool { return &c.OAuth2.PublicClients }),
	}
}

// issuerPaths leaves out what would have to be escaped, empty segments, and segments
// that begin with an underscore, under which Elasticsearch's API is.
var issuerPaths = regexp.MustCompile(`^(/[A-Za-z0-9~-][A-Za-z0-9._~-]*)*$`)

// checkIssuer is RFC 8414, 2. The URL must do as it is, for clients compare it byte by
// byte; without TLS it is good for trying things out only.
func checkIssuer(text string) error {
	const like = "is no URL like https://id.example.org or https://example.org/id"
	issuer, err := url.Parse(text)
	if err != nil || issuer.User != nil {
		return errors.New(like)
	}
	_, err = parseHost(issuer.Hostname())
	switch {
	case err != nil:
		return errors.New(like)
	case issuer.Scheme != "https" && (issuer.Scheme != "http" || !isLoopback(issuer.Hostname())):
		return errors.New("must begin with https:// (http:// is for this machine alone)")
	case strings.ContainsAny(text, "?#"):
		return errors.New("must not have a query or a fragment")
	case !issuerPaths.MatchString(strings.TrimPrefix(text, issuer.Scheme+"://"+issuer.Host)):
		return errors.New("must end without a slash, and have only letters, digits and . _ ~ - in its path, whose parts begin with none of . _")
	}
	return nil
}

// hashingAlgorithms are Elasticsearch's names; the number is the cost or the
// iterations.
var hashingAlgorithms = regexp.MustCompile(
	`^(bcrypt([4-9]|1[0-4])?|pbkdf2(_stretch)?(_(1000|10000|50000|100000|500000|1000000))?)$`)

func userSettings() []setting {
	const file = "xpack.security.authc.realms.file."
	hashing := func(name string) error {
		if !hashingAlgorithms.MatchString(name) {
			return errors.New("must be bcrypt, pbkdf2 or pbkdf2_stretch, or one of these with a cost as in bcrypt12 or pbkdf2_stretch_100000")
		}
		return nil
	}
	return []setting{
		{
			Setting: Setting{
				Name: "bootstrap.password", Kind: "text",
				Doc: "The password of the user elastic in a new cluster. Better: bootstrap.password_file.",
			},
			set:   setPassword,
			show:  func(*Config) string { return "" },
			check: func(*Config) error { return nil },
		},
		{
			Setting: Setting{
				Name: "bootstrap.password_file", Kind: "path",
				Doc: "A file with that password, readable by its owner only. Neither set: one is made, and printed on a terminal or else written to path.data/elastic.password.",
			},
			set:   setPasswordFile,
			show:  func(*Config) string { return "" },
			check: func(*Config) error { return nil },
		},
		text("xpack.security.authc.password_hashing.algorithm", func(c *Config) *string { return &c.PasswordHashing }, hashing,
			"How new passwords are hashed."),
		boolean(file+"enabled", "Users from Elasticsearch's users and users_roles files, after all other users.",
			func(c *Config) *bool { return &c.FileRealm.Enabled }),
		filePath(file+"files.users", func(c *Config) *string { return &c.FileRealm.Users },
			"The users file: lines of name:hash. Read again when it changes."),
		filePath(file+"files.users_roles", func(c *Config) *string { return &c.FileRealm.UsersRoles },
			"The users_roles file: lines of role:name,name. Read again when it changes."),
	}
}

func setPassword(c *Config, g given) error {
	password, err := g.text()
	if err != nil {
		return err
	}
	if password == "" {
		return errors.New("is empty; leave the setting out to have a password made")
	}
	c.BootstrapPassword = realm.NewSecret(password)
	return nil
}

func setPasswordFile(c *Config, g given) error {
	name, err := g.text()
	if err != nil {
		return err
	}
	if !c.BootstrapPassword.IsZero() {
		return errors.New("is given beside bootstrap.password; remove one of the two")
	}
	name, err = resolvePath(name, g.folder)
	if err != nil {
		return err
	}
	oneLine := func(content []byte) bool { return !strings.ContainsAny(passwordIn(content), "\r\n") }
	content, err := certs.ReadSecret(name, "password", oneLine)
	if err != nil {
		return fmt.Errorf("read the password: %w", err)
	}
	password := passwordIn(content)
	switch {
	case password == "":
		return fmt.Errorf("%s is empty; write the password into it", name)
	case !oneLine(content):
		return fmt.Errorf("%s has more than one line; write only the password into it", name)
	}
	c.BootstrapPassword = realm.NewSecret(password)
	return nil
}

// passwordIn is a file's content without the end of its line.
func passwordIn(content []byte) string {
	return strings.TrimSuffix(strings.TrimSuffix(string(content), "\n"), "\r")
}

func readSettings() []setting {
	return []setting{
		choice("read.mode", func(c *Config) *string { return &c.Read.Mode }, []string{ReadLease, ReadQuorum},
			"How a node makes sure that a token it accepts was not invalidated elsewhere: quorum asks a majority of the nodes each time; lease asks nobody while it holds a lease. Nodes may differ: the setting is about what a node answers, and every leader reckons with the leases of others. Not lease on machines that may be suspended and resumed."),
		duration("read.lease", func(c *Config) *time.Duration { return &c.Read.Lease }, 200*time.Millisecond, 5*time.Second,
			"How long such a lease lasts, and so about the longest that invalidations wait once after a node has died."),
	}
}

func raftSettings() []setting {
	return []setting{
		duration("raft.heartbeat_timeout", func(c *Config) *time.Duration { return &c.Raft.HeartbeatTimeout },
			50*time.Millisecond, time.Minute, "A follower that hears nothing from the leader for so long asks for votes."),
		duration("raft.election_timeout", func(c *Config) *time.Duration { return &c.Raft.ElectionTimeout },
			50*time.Millisecond, time.Minute, "How long a candidate waits for votes; not below raft.heartbeat_timeout."),
		duration("raft.snapshot_interval", func(c *Config) *time.Duration { return &c.Raft.SnapshotInterval },
			time.Second, day, "How often the need of a snapshot is looked at."),
		size("raft.snapshot_threshold", func(c *Config) *int64 { return &c.Raft.SnapshotThreshold }, 4<<10, 1<<40,
			"No snapshot before so much new log, nor before as much as the state has."),
		number("raft.trailing_logs", func(c *Config) *int { return &c.Raft.TrailingLogs }, 16, 1<<30,
			"Log entries kept after a snapshot, so that a node that was away does not need one."),
		number("raft.log_cache", func(c *Config) *int { return &c.Raft.LogCache }, 64, 1<<20,
			"The newest entries, kept in memory for the other nodes."),
	}
}

func autopilotSettings() []setting {
	return []setting{
		duration("autopilot.server_stabilization_time", func(c *Config) *time.Duration { return &c.Autopilot.ServerStabilizationTime }, 0, day,
			"How long a new member must have been healthy before it gets a vote. The initial members have theirs at once."),
		duration("autopilot.last_contact_threshold", func(c *Config) *time.Duration { return &c.Autopilot.LastContactThreshold },
			100*time.Millisecond, time.Minute, "A member that has been out of contact with the leader for longer is not healthy."),
		number("autopilot.max_trailing_logs", func(c *Config) *int { return &c.Autopilot.MaxTrailingLogs }, 1, 1<<30,
			"Nor is one whose log is more entries behind the leader's."),
		boolean("autopilot.cleanup_dead_servers",
			"Whether the leader removes members that are dead. Needs autopilot.min_quorum.",
			func(c *Config) *bool { return &c.Autopilot.CleanupDeadServers }),
		duration("autopilot.dead_server_last_contact_threshold", func(c *Config) *time.Duration { return &c.Autopilot.DeadServerLastContactThreshold },
			10*time.Second, 30*day, "A member that has not answered the leader for so long is dead. More than any restart and any repair takes."),
		number("autopilot.min_quorum", func(c *Config) *int { return &c.Autopilot.MinQuorum }, 0, 99,
			"No voter is removed as dead if fewer voters than this would be left: the number that the cluster is meant to have."),
	}
}

func serviceSettings() []setting {
	return []setting{
		duration("request.timeout", func(c *Config) *time.Duration { return &c.RequestTimeout }, 100*time.Millisecond, time.Minute,
			"How long a request may wait for a leader and a quorum before the answer is 503."),
		duration("shutdown.delay", func(c *Config) *time.Duration { return &c.Shutdown.Delay }, 0, 10*time.Minute,
			"After SIGTERM: how long requests are served while readiness is off, for load balancers to notice. "+
				"Connections that are kept alive have a second at least to bring their last request."),
		duration("shutdown.drain", func(c *Config) *time.Duration { return &c.Shutdown.Drain }, 0, 10*time.Minute,
			"After that: how long requests in progress may still take."),
		choice("log.level", func(c *Config) *string { return &c.Log.Level }, []string{"trace", "debug", "info", "warn", "error"},
			"The least that is logged."),
		choice("log.format", func(c *Config) *string { return &c.Log.Format }, []string{"text", "json"},
			"How log lines are written."),
	}
}
