package config

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"jeton/node/certs"
	"jeton/node/realm"
)

// Config is one node's configuration. It is data: [Load] fills it, nothing
// changes it afterwards. Every field names the setting that it comes from;
// [Settings] gives the same as a table.
type Config struct {
	// ClusterName is cluster.name, "jeton" by default. A node of another cluster is
	// refused by it, so it is part of every node's transport certificate.
	ClusterName string
	// NodeName is node.name: unique in the cluster, part of this node's transport
	// certificate, its stable identity whatever its address. [Load] defaults it to
	// the machine's host name; empty is refused.
	NodeName string
	// DataPath is path.data, the folder of the log, the snapshots and the node's
	// identity. It must be set, and two nodes never share one.
	DataPath string
	// LogsPath is path.logs, a folder for the log file. Empty: log to standard error.
	LogsPath string

	HTTP      HTTP
	Transport Transport
	Discovery Discovery
	Token     Token
	OAuth2    OAuth2
	FileRealm FileRealm
	Read      Read
	Raft      Raft
	Shutdown  Shutdown
	Autopilot Autopilot
	Log       Log

	// BootstrapPassword is bootstrap.password, or the content of
	// bootstrap.password_file: the password of the user elastic in a new cluster.
	// Empty: one is generated, and printed on a terminal or else written to
	// path.data/elastic.password.
	BootstrapPassword realm.Secret
	// PasswordHashing is xpack.security.authc.password_hashing.algorithm: the format
	// of new password verifiers, "bcrypt" by default.
	PasswordHashing string
	// RequestTimeout is request.timeout, 10 s by default (clients give up after 30), at
	// most 1 min (operations are remembered for 5): how long a request may wait
	// for a leader and a quorum before the answer is 503.
	RequestTimeout time.Duration
}

// Endpoint is where this node listens, and where others are told to find it.
type Endpoint struct {
	// Host is the bind address: an IP address or a host name, 127.0.0.1 by default.
	// 0.0.0.0 and :: bind all interfaces.
	Host string
	// Port is the bind port. 0: any free port, which only tests want.
	Port int
	// PublishHost is the host others connect to. Empty: Host.
	PublishHost string
	// PublishPort is the port others connect to. 0: Port.
	PublishPort int
}

// HTTP is the API for clients: http.* and xpack.security.http.ssl.*.
type HTTP struct {
	Endpoint // port 9200 by default
	// TLS is off by default. Its CertificateAuthorities are whom clients trust, and
	// this node's certificate is compared with that; clients need none themselves.
	TLS TLS
	// MaxContentLength is http.max_content_length: the largest body in bytes, 64 KiB
	// by default.
	MaxContentLength int64
}

// Transport is the port for the other nodes: transport.* and
// xpack.security.transport.ssl.*. It always speaks mutual TLS 1.3.
type Transport struct {
	Endpoint // port 9300 by default
	// TLS is always enabled, and its files must be set, all three.
	TLS TLS
}

// TLS is one SSL context: the settings enabled, certificate, key and
// certificate_authorities; the files as absolute paths.
type TLS struct {
	Enabled bool
	certs.Files
}

// Discovery is how a node finds its cluster.
type Discovery struct {
	// SingleNode is discovery.type: single-node. The node forms a cluster of its own
	// and the bootstrap checks become warnings. False, the default: multi-node.
	SingleNode bool
	// SeedHosts is discovery.seed_hosts: host:port of nodes to ask. [Load] adds
	// transport.port where the port is missing.
	SeedHosts []string
	// InitialMasterNodes is cluster.initial_master_nodes: the names of the nodes that
	// form a new cluster together; ignored once there is a cluster. Empty: this
	// node only joins.
	InitialMasterNodes []string
}

// Token is the token service: xpack.security.authc.token.*.
type Token struct {
	// Enabled defaults to HTTP.TLS.Enabled, as in Elasticsearch.
	Enabled bool
	// AccessLifetime is timeout: 20 min by default, 1 s to 1 h.
	AccessLifetime time.Duration
	// RefreshLifetime is refresh_timeout: 24 h by default (Elasticsearch's fixed
	// value), 1 s to 365 d.
	RefreshLifetime time.Duration
	// SessionLifetime is session_timeout: how long after the login the last
	// successor of a pair ends. 0, the default: no such limit.
	SessionLifetime time.Duration
	// RefreshWindow is refresh_window: how long a repeated refresh gets the same
	// pair, 30 s by default, at most 5 min. 0: a repetition is reuse at once.
	RefreshWindow time.Duration
	// ReuseDetection is reuse_detection, true by default: a refresh token that is
	// shown after the window ends its whole family.
	ReuseDetection bool
	// DeleteInterval is delete.interval: the time between two collections of expired
	// pairs, 30 min by default, at least 1 s.
	DeleteInterval time.Duration
	// KeyPath is key_path: the file of the cluster key, the same on every node. It
	// must be set.
	KeyPath string
}

// OAuth2 is the plain OAuth 2.0 surface: oauth2.*.
type OAuth2 struct {
	// Issuer is issuer: the URL, beyond any proxy, under which clients find /oauth2 and
	// the metadata (RFC 8414, 2). Empty, the default: there is no metadata.
	Issuer string
	// PublicClients is public_clients, false by default: clients may use the grants
	// password and refresh_token without authenticating themselves (RFC 6749, 2.1).
	PublicClients bool
}

// FileRealm is xpack.security.authc.realms.file.*: Elasticsearch's users and
// users_roles files.
type FileRealm struct {
	Enabled    bool   // enabled; false by default
	Users      string // files.users: absolute path; must be set if enabled
	UsersRoles string // files.users_roles: absolute path; must be set if enabled
}

// The values of Read.Mode.
const (
	ReadLease  = "lease"
	ReadQuorum = "quorum"
)

// Read is read.*: how a node makes sure that it knows every revocation before it
// accepts a token.
type Read struct {
	// Mode is mode: ReadLease (asks nobody while it holds a lease; not for machines that
	// are suspended, such as virtual machines that are paused or cloned) or ReadQuorum
	// (asks a majority each time). ReadLease by default.
	Mode string
	// Lease is lease: how long a lease lasts, and so about the longest that a
	// revocation waits once after a node died. 1 s by default, 200 ms to 5 s.
	Lease time.Duration
}

// Raft is raft.*: consensus timing, and how much log is kept.
type Raft struct {
	// HeartbeatTimeout is heartbeat_timeout: a follower that heard nothing for so
	// long asks for votes. 1 s by default, 50 ms to 1 min.
	HeartbeatTimeout time.Duration
	// ElectionTimeout is election_timeout: how long a candidate waits for votes. 1 s
	// by default, not below HeartbeatTimeout.
	ElectionTimeout time.Duration
	// SnapshotInterval is snapshot_interval: how often the need of a snapshot is
	// looked at, 30 s by default.
	SnapshotInterval time.Duration
	// SnapshotThreshold is snapshot_threshold: no snapshot before so many bytes of
	// new log, nor before as many as the state has. 64 MiB by default, at least
	// 4 KiB.
	SnapshotThreshold int64
	// TrailingLogs is trailing_logs: entries kept after a snapshot, so that a node
	// that was away for a restart needs no snapshot. An entry is a batch of up to
	// 256 commands, 30 KiB at full load. 32,768 by default.
	TrailingLogs int
	// LogCache is log_cache: newest entries kept in memory for followers, 4,096 by
	// default.
	LogCache int
}

// Autopilot is autopilot.*: how the leader looks after the members. The names are
// Consul's and Vault's.
type Autopilot struct {
	// ServerStabilizationTime is server_stabilization_time: how long a new member must
	// have been healthy before it gets a vote. 10 s by default; 0: as soon as it is.
	ServerStabilizationTime time.Duration
	// LastContactThreshold is last_contact_threshold: a member that has not heard from
	// the leader, or not answered it, for longer is not healthy. 2 s by default.
	LastContactThreshold time.Duration
	// MaxTrailingLogs is max_trailing_logs: nor is one that is more entries behind.
	// 1,000 by default.
	MaxTrailingLogs int
	// CleanupDeadServers is cleanup_dead_servers: members that are dead are removed.
	// Off by default.
	CleanupDeadServers bool
	// DeadServerLastContactThreshold is dead_server_last_contact_threshold: who has not
	// answered the leader for so long is dead. 24 h by default.
	DeadServerLastContactThreshold time.Duration
	// MinQuorum is min_quorum: no voter is removed as dead if fewer would be left. It
	// must be set, above 0, where dead members are removed.
	MinQuorum int
}

// Shutdown is what SIGTERM starts: shutdown.*.
type Shutdown struct {
	// Delay is delay: readiness is off but requests are served, for the load
	// balancer to notice. 5 s by default; 0: none.
	Delay time.Duration
	// Drain is drain: how long requests in progress may still take after that, 10 s
	// by default; 0: they are cut.
	Drain time.Duration
}

// Log is log.*.
type Log struct {
	Level  string // level: trace, debug, info (default), warn or error
	Format string // format: text (default) or json
}

// Default returns what holds where nothing is set: a node on loopback, without
// HTTPS and therefore without the token service. It is not complete: NodeName,
// DataPath, Token.KeyPath and the transport certificates have no default.
func Default() *Config {
	return &Config{
		ClusterName: "jeton",
		HTTP:        HTTP{Endpoint: Endpoint{Host: loopback, Port: 9200}, MaxContentLength: 64 << 10},
		Transport:   Transport{Endpoint: Endpoint{Host: loopback, Port: 9300}, TLS: TLS{Enabled: true}},
		Token: Token{
			AccessLifetime:  20 * time.Minute,
			RefreshLifetime: 24 * time.Hour,
			RefreshWindow:   30 * time.Second,
			ReuseDetection:  true,
			DeleteInterval:  30 * time.Minute,
		},
		Read: Read{Mode: ReadLease, Lease: time.Second},
		Raft: Raft{
			HeartbeatTimeout:  time.Second,
			ElectionTimeout:   time.Second,
			SnapshotInterval:  30 * time.Second,
			SnapshotThreshold: 64 << 20,
			TrailingLogs:      32_768,
			LogCache:          4_096,
		},
		Autopilot: Autopilot{
			ServerStabilizationTime:        10 * time.Second,
			LastContactThreshold:           2 * time.Second,
			MaxTrailingLogs:                1_000,
			DeadServerLastContactThreshold: day,
		},
		Shutdown:        Shutdown{Delay: 5 * time.Second, Drain: 10 * time.Second},
		Log:             Log{Level: "info", Format: "text"},
		PasswordHashing: "bcrypt",
		RequestTimeout:  10 * time.Second,
	}
}

const loopback = "127.0.0.1"

// BindAddress is what to listen on, as host:port.
func (e Endpoint) BindAddress() string { return net.JoinHostPort(e.Host, strconv.Itoa(e.Port)) }

// PublishAddress is what others connect to, as host:port.
func (e Endpoint) PublishAddress() string {
	host, port := e.PublishHost, e.PublishPort
	if host == "" {
		host = e.Host
	}
	if port == 0 {
		port = e.Port
	}
	return net.JoinHostPort(host, strconv.Itoa(port))
}

// onLoopback reports whether the endpoint can be reached from this machine only.
// A host name other than localhost counts as reachable from elsewhere: what it
// resolves to may change.
func (e Endpoint) onLoopback() bool {
	return isLoopback(e.Host) && (e.PublishHost == "" || isLoopback(e.PublishHost))
}

func isLoopback(host string) bool {
	address, err := netip.ParseAddr(host)
	if err != nil {
		return strings.EqualFold(host, "localhost")
	}
	return address.Unmap().IsLoopback()
}

func isUnspecified(host string) bool {
	address, err := netip.ParseAddr(host)
	return err == nil && address.Unmap().IsUnspecified()
}
